"""Followers detect a control plane that was rolled back, also after a restart."""

from __future__ import annotations

import json
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import store_access
from data_folders import NOW, History, bearer, client, copy, opened

from nomos._core.effects import HttpReply, Send
from nomos._core.trust_anchor import TrustedIssuers
from nomos._io.checkpoints import checking
from nomos._io.revocation_feed import InvalidFeedReply, RevocationFeed
from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos.audit.chain import Head
from nomos.audit.export import Damaged, ExportWriter, MalformedLine, read
from nomos.audit.verify import verify
from nomos.errors import ConfigurationError
from nomos.server.storage import feed_position
from nomos.server.storage.failures import StorageUnavailable
from nomos.server.storage.store import Store

pytestmark = pytest.mark.anyio


class Wire:
    """The way to a control plane in this process."""

    def __init__(self, running: Any) -> None:
        self._running = running

    async def send(self, send: Send) -> HttpReply:
        async with client(self._running.system.control, bearer(self._running.key)) as http:
            reply = await http.request(send.method, send.path)
        return HttpReply(reply.status_code, dict(reply.headers), reply.content, NOW)


async def follower(
    running: Any, link: SignerConnection, store: Store, pinned: str | None = None
) -> RevocationFeed:
    issuers = TrustedIssuers(pinned or running.system.issuer_did, "default", lambda: NOW)
    return RevocationFeed(
        Wire(running),
        AsyncSigner(link),
        issuers,
        "default",
        floor=await store.database.read(feed_position.floor, "default"),
        keep=lambda which, head: store.database.write(feed_position.keep, "default", head, which),
    )


async def test_a_restarted_follower_refuses_an_older_feed(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    store = Store(tmp_path)
    await store.migrate()
    data = copy(history.crashed, tmp_path / "now")
    async with opened(data, link, key=history.key) as running:
        first = await follower(running, link, store)
        await first._poll(0)
        await first._poll(0)
        assert first.state.head.seq == 1
    assert await store.database.read(feed_position.end, "default") == first.state.head
    older = copy(history.before, tmp_path / "older")
    async with opened(older, link, key=history.key) as running:
        again = await follower(running, link, store)
        with pytest.raises(
            InvalidFeedReply, match="rolled back: it ends at row 0, and row 1 is known"
        ):
            await again._poll(0)
        assert again.status(["x"]).age_seconds > 10**6
        # Another row in the place of the one that is known is no better.
        await store_access.revoke(running.system.store, "default", ["f" * 64])
        with pytest.raises(InvalidFeedReply, match="rewritten: row 1 is not the one"):
            await again._poll(0)
    async with opened(data, link, key=history.key) as running:
        right = await follower(running, link, store)
        await right._poll(0)
        assert right.state.head == first.state.head
    await store.close()


async def test_the_stored_position_never_decreases(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.migrate()
    for seq in (2, 1, 2):
        await store.database.write(
            partial(feed_position.keep, tenant="t", head=Head(seq, f"{seq}"))
        )
    assert await store.database.read(feed_position.end, "t") == Head(2, "2")
    assert await store.database.read(feed_position.end, "other") == Head()
    await store.close()


async def test_a_restarted_follower_refuses_an_older_key_log(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    store = Store(tmp_path)
    await store.migrate()
    async with opened(copy(history.crashed, tmp_path / "now"), link, key=history.key) as running:
        first = await follower(running, link, store)
        await first._learn_keys()
        await first._poll(0)
        kept = await store.database.read(feed_position.floor, "default")
        assert (kept.keys.seq, kept.revocations.seq) == (1, 1)
        farther = Head(2, "f" * 64)
        await store.database.write(feed_position.keep, "default", farther, "keys")
        again = await follower(running, link, store)
        with pytest.raises(InvalidFeedReply, match="key log has not been read"):
            await again._poll(0)
        await again._learn_keys()
        with pytest.raises(
            InvalidFeedReply, match="key log is refused: it was rolled back: it ends"
        ):
            await again._poll(0)
        # The present view stays: it contains at least that.
        first._keys_floor = farther
        await first._learn_keys()
        await first._poll(0)
    await store.close()


async def test_a_restarted_follower_refuses_a_replaced_key(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    """The folder of the control plane is one from before the rotation; its feed is the same."""
    store = Store(tmp_path)
    await store.migrate()
    data = copy(history.crashed, tmp_path / "now")
    async with opened(data, link, key=history.key) as running:
        pinned = running.system.issuer_did
        boss = (await running.system.create_app("boss", "operator", ("*",))).reveal()
        reply = await running.control.post("/v1/keys/rotate", json={}, headers=bearer(boss))
        assert reply.status_code == 200, reply.text
        one = await follower(running, link, store, pinned)
        await one._learn_keys()
        await one._poll(0)
        assert one._issuers.active == running.system.issuer_did != pinned
    await store.close()
    store = Store(tmp_path)
    older = copy(history.crashed, tmp_path / "older")
    async with opened(older, link, key=history.key) as running:
        again = await follower(running, link, store, pinned)
        await again._learn_keys()
        with pytest.raises(
            InvalidFeedReply, match="key log is refused: it was rolled back: it ends"
        ):
            await again._poll(0)
        assert again.status(()).age_seconds > 10**6
    await store.close()


async def test_a_reply_that_cannot_be_stored_is_not_used(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    async def fail(which: str, head: Head) -> None:
        raise StorageUnavailable("the disk is full")

    async with opened(copy(history.crashed, tmp_path / "now"), link, key=history.key) as running:
        issuers = TrustedIssuers(running.system.issuer_did, "default", lambda: NOW)
        one = RevocationFeed(Wire(running), AsyncSigner(link), issuers, "default", keep=fail)
        with pytest.raises(InvalidFeedReply, match=r"^cannot be stored: the disk"):
            await one._poll(0)
        assert one.state.head == Head()
        await one._learn_keys()
        with pytest.raises(InvalidFeedReply, match="key log cannot be stored"):
            await one._poll(0)


# Rows that cannot be read

DAMAGE = {
    "no UTF-8": "UPDATE records SET text = CAST(x'fffe' || text AS TEXT) WHERE seq = 2",
    "half a text": "UPDATE records SET text = substr(text, 1, 40) WHERE seq = 2",
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_an_export_names_a_damaged_row_and_goes_on(
    tmp_path: Path, link: SignerConnection, history: History, what: str
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    with sqlite3.connect(data / "nomos.db") as connection:
        connection.execute(DAMAGE[what])
    connection.close()
    async with opened(data, link, key=history.key) as running:
        auditor = (await running.system.create_app("auditor", "auditor")).reveal()
        reply = await running.control.get("/v1/audit/export", headers=bearer(auditor))
        lines = [json.loads(line) for line in reply.text.splitlines()]
        assert [line["type"] for line in lines if line["type"] == "end"] == ["end"]
        assert [line["seq"] for line in lines if line["type"] == "damaged"] == [2]
        rows = [line["row"]["seq"] for line in lines if line["type"] == "row"]
        assert rows == [1, *range(3, lines[-1]["last"] + 1)]
        raw = [line + b"\n" for line in reply.content.splitlines()]
        report = verify(iter(raw), running.system.issuer_did, checking(Signer(link)))
    assert report.state == "wrong"
    assert report.finding is not None
    assert (report.finding.kind, report.finding.first) == ("damaged", 2)
    assert "row 2 could not be read" in report.message


async def test_a_checkpoint_kept_elsewhere_notices_a_folder_that_was_rolled_back(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key) as running:
        auditor = (await running.system.create_app("auditor", "auditor")).reveal()
        reply = await running.control.get("/v1/audit/checkpoint", headers=bearer(auditor))
        pin = reply.json()["checkpoint"]
    async with opened(data, link, key=history.key, checkpoint=pin):
        pass
    older = copy(history.before, tmp_path / "older")
    with pytest.raises(ConfigurationError, match="the folder is older than the checkpoint"):
        async with opened(older, link, checkpoint=pin):
            pass
    for wrong in ("", pin[:-4], "x" * 5000):
        with pytest.raises(ConfigurationError, match="not signed by this server's issuer"):
            async with opened(data, link, checkpoint=wrong):
                pass


def test_a_line_that_names_no_damaged_row_is_malformed() -> None:
    whole = ExportWriter().damaged(3, "a" * 64)
    assert read(whole) == Damaged(3, "a" * 64)
    for wrong in (b'{"hash":"a","seq":0,"type":"damaged"}', b'{"hash":1,"seq":1,"type":"damaged"}'):
        with pytest.raises(MalformedLine, match="names no damaged row"):
            read(wrong + b"\n")
    with pytest.raises(MalformedLine, match="must have exactly the members"):
        read(b'{"seq":1,"type":"damaged"}\n')
