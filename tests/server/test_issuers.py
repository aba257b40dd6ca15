"""Issuer keys: made at the first start, rotated and revoked while the server runs."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import store_access

from nomos._core.trust_anchor import RETIRING_SECONDS
from nomos._io.checkpoints import checking
from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos.audit.keys import MAX_KEYS, trusted
from nomos.errors import ConfigurationError
from nomos.policy.bundle import Source
from nomos.server.app import System
from nomos.server.settings import Settings
from nomos.server.signing.issuers import Issuers, NoMoreKeys, RotationRequest
from nomos.server.signing.keys import KeyFiles
from nomos.server.storage import records
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.issuer_keys import ConcurrentRotation
from nomos.server.storage.store import Store
from nomos.server.storage.tenants import DEFAULT

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000
ACT = RotationRequest("app_operator", "req_1")
QUESTION = {
    "command": "/filesystem/file/read",
    "resource": {"provider": "filesystem", "path": "a.txt"},
    "ttlSeconds": 3600,
}
POLICY = Source("all.cedar", "permit(principal, action, resource);")


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Running:
    """A system on a folder, and clients of both its halves."""

    system: System
    clock: Clock
    control: httpx.AsyncClient
    pdp: httpx.AsyncClient

    @property
    def issuers(self) -> Issuers:
        return self.system.issuers

    async def grant(self) -> str:
        """A token that reads `a.txt`."""
        reply = await self.control.post("/v1/authorize", json=QUESTION)
        assert reply.json()["decision"] == "allow", reply.text
        token: str = reply.json()["ucan"]
        return token

    async def read(self, token: str) -> str:
        """`ok`, or the code of the PDP's refusal."""
        reply = await self.pdp.get(
            "/filesystem/file/read?path=a.txt", headers={"authorization": f"Bearer {token}"}
        )
        return "ok" if reply.status_code == 200 else str(reply.json()["error_code"])


Opens = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The server runs under asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def link(binary: Path) -> Iterator[SignerConnection]:
    link = SignerConnection(binary)
    yield link
    link.close()


@pytest.fixture
def start(tmp_path: Path, link: SignerConnection) -> Opens:
    """What starts a system on the test's folder and stops it."""

    @asynccontextmanager
    async def started(clock: Clock | None = None) -> AsyncIterator[Running]:
        clock = clock or Clock()
        settings = Settings(data=tmp_path / "data", policies=(POLICY,))
        system = await System.open(settings, AsyncSigner(link), clock=clock)
        (settings.served_folder / "a.txt").write_text("hello")
        try:
            key = (await system.create_app("tests")).reveal()
            bearer = {"authorization": f"Bearer {key}"}
            async with (
                _client(system.control, bearer) as control,
                _client(system.pdp, {}) as pdp,
            ):
                yield Running(system, clock, control, pdp)
        finally:
            await system.close()

    return started


def _client(app: Any, headers: dict[str, str]) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://nomos", headers=headers)


def _database(tmp_path: Path) -> sqlite3.Connection:
    return sqlite3.connect(tmp_path / "data" / "nomos.db")


def _key_files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "data" / "keys").glob("issuer-*"))


async def test_the_first_start_makes_a_self_signed_key(
    start: Opens, tmp_path: Path, link: SignerConnection
) -> None:
    async with start() as running:
        [key] = running.issuers.log_of(DEFAULT)
        assert (key.state, key.until, key.did) == ("active", None, running.system.issuer_did)
        assert dict(running.issuers.active) == {DEFAULT: key.did}
        assert dict(running.issuers.trusted) == {key.did: DEFAULT}
        entries = await running.issuers.entries(DEFAULT)
        assert trusted(entries, DEFAULT, key.did, checking(Signer(link))).trusted == (key.did,)
    assert _key_files(tmp_path) == ["issuer-default.key"]


async def test_another_start_changes_nothing(start: Opens) -> None:
    async with start() as running:
        before = running.issuers.log_of(DEFAULT)
    async with start() as running:
        assert running.issuers.log_of(DEFAULT) == before


async def test_a_database_of_an_older_version_keeps_its_key(start: Opens, tmp_path: Path) -> None:
    async with start() as running:
        did, token = running.system.issuer_did, await running.grant()
    with _database(tmp_path) as connection:
        connection.execute("DELETE FROM issuer_keys")
        connection.execute("DELETE FROM heads WHERE log = 'keys'")
        connection.execute("UPDATE keeping SET anchored = 0")
    connection.close()
    (tmp_path / "data" / "nomos.anchor").unlink()
    async with start() as running:
        assert [key.did for key in running.issuers.log_of(DEFAULT)] == [did]
        assert await running.read(token) == "ok"


async def test_control_plane_and_pdp_see_a_rotation_at_once(
    start: Opens, tmp_path: Path, link: SignerConnection
) -> None:
    async with start() as running:
        old, old_token = running.system.issuer_did, await running.grant()
        key = await running.issuers.rotate(DEFAULT, ACT)
        assert key.did == running.system.issuer_did != old
        assert set(running.issuers.trusted) == {old, key.did}
        assert await running.read(old_token) == "ok"
        assert await running.read(await running.grant()) == "ok"

        [retiring, active] = running.issuers.log_of(DEFAULT)
        assert (retiring.state, retiring.until) == ("retiring", NOW + RETIRING_SECONDS)
        assert (active.state, active.until) == ("active", None)
        entries = await running.issuers.entries(DEFAULT)
        found = trusted(entries, DEFAULT, old, checking(Signer(link)))
        assert found.trusted == (old, key.did)
    new = tmp_path / "data" / "keys" / "issuer-default-2.key"
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    async with start() as running:
        assert running.system.issuer_did == key.did
        assert await running.read(old_token) == "ok"


async def test_a_retiring_key_is_trusted_until_its_last_token_expires(start: Opens) -> None:
    async with start() as running:
        old = running.system.issuer_did
        await running.issuers.rotate(DEFAULT, ACT)
        running.clock.now = NOW + RETIRING_SECONDS - 1
        assert old in running.issuers.trusted
        running.clock.now = NOW + RETIRING_SECONDS
        assert old not in running.issuers.trusted
        assert list(running.issuers.trusted) == [running.system.issuer_did]


async def test_a_rotation_is_recorded(start: Opens) -> None:
    async with start() as running:
        old = running.system.issuer_did
        new = (await running.issuers.rotate(DEFAULT, ACT)).did
        [receipt] = await store_access.receipts(running.system.store, DEFAULT, 1)
        assert (receipt.kind, receipt.act, receipt.actor) == ("key", "rotate", "app_operator")
        assert (receipt.request_id, receipt.at) == ("req_1", NOW * 1000)
        assert receipt.detail == {"did": new, "previous": old}


async def test_the_old_key_can_be_revoked_with_the_rotation(start: Opens) -> None:
    async with start() as running:
        old, token = running.system.issuer_did, await running.grant()
        await running.issuers.rotate(DEFAULT, ACT, revoke_old=True)
        assert await running.read(token) in ("revoked", "untrusted_issuer")
        assert list(running.issuers.trusted) == [running.system.issuer_did]
        assert [key.state for key in running.issuers.log_of(DEFAULT)] == ["revoked", "active"]
        assert await running.system.store.revoked([old]) == {old}
        receipts = await store_access.receipts(running.system.store, DEFAULT, 10)
        acts = {each.act: each.detail for each in receipts if each.kind == "key"}
        new = running.system.issuer_did
        assert acts == {"rotate": {"did": new, "previous": old}, "revoke": {"did": old}}
        assert await running.read(await running.grant()) == "ok"
    async with start() as running:
        assert await running.read(token) in ("revoked", "untrusted_issuer")


@pytest.mark.parametrize("by", ["this process", "another process"])
async def test_the_key_that_was_to_be_revoked_is_revoked_when_others_rotate_first(
    start: Opens, tmp_path: Path, binary: Path, by: str
) -> None:
    async with start() as running, _beside(running, tmp_path, binary) as other:
        old, token = running.system.issuer_did, await running.grant()
        rotate = running.issuers.rotate
        if by == "this process":
            await asyncio.gather(rotate(DEFAULT, ACT), rotate(DEFAULT, ACT, revoke_old=True))
        else:
            async with running.issuers._rotating:
                late = asyncio.create_task(rotate(DEFAULT, ACT, revoke_old=True))
                await asyncio.sleep(0)
                await other.rotate(DEFAULT, ACT)
            await late
        between = running.issuers.log_of(DEFAULT)[1].did
        assert await running.system.store.revoked([old, between]) == {old, between}
        assert list(running.issuers.trusted) == [running.system.issuer_did]
        assert await running.read(token) in ("revoked", "untrusted_issuer")
        receipts = await store_access.receipts(running.system.store, DEFAULT, 3)
        revoked = [each.detail["did"] for each in receipts if each.act == "revoke"]
        assert sorted(revoked) == sorted([old, between])


async def test_many_rotations_at_once_are_one_after_another(start: Opens, tmp_path: Path) -> None:
    async with start() as running:
        await asyncio.gather(*(running.issuers.rotate(DEFAULT, ACT) for _ in range(5)))
        keys = running.issuers.log_of(DEFAULT)
        assert [key.link.seq for key in keys] == [1, 2, 3, 4, 5, 6]
        assert len({key.did for key in keys}) == 6
        assert await running.read(await running.grant()) == "ok"
    assert len(_key_files(tmp_path)) == 6


@asynccontextmanager
async def _beside(running: Running, tmp_path: Path, binary: Path) -> AsyncIterator[Issuers]:
    """The issuers as another process on the same database has them, with a signer of its own."""
    signer = AsyncSigner(SignerConnection(binary))
    store = Store(tmp_path / "data", running.clock)
    keys = KeyFiles(tmp_path / "data" / "keys", signer)
    issuers = Issuers(store, keys, signer, running.clock)
    await issuers.open(DEFAULT)
    try:
        yield issuers
    finally:
        await store.close()
        signer.link.close()


async def test_another_process_sees_a_rotation_within_a_second(
    start: Opens, tmp_path: Path, binary: Path
) -> None:
    async with start() as running, _beside(running, tmp_path, binary) as other:
        old, token = running.system.issuer_did, await running.grant()
        new = await other.rotate(DEFAULT, ACT, revoke_old=True)
        async with asyncio.timeout(3):
            while running.system.issuer_did != new.did:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.02)
        assert old not in running.issuers.trusted
        assert await running.read(token) in ("revoked", "untrusted_issuer")
        assert await running.read(await running.grant()) == "ok", "it signs with the other's key"


async def test_two_processes_rotate_one_after_another(
    start: Opens, tmp_path: Path, binary: Path
) -> None:
    """Each makes its key, one after the other; neither takes the other's file away."""
    async with start() as running, _beside(running, tmp_path, binary) as other:
        for _ in range(5):
            await asyncio.gather(running.issuers.rotate(DEFAULT, ACT), other.rotate(DEFAULT, ACT))
        await running.issuers.refresh()
        await other.refresh()
        assert running.issuers.log_of(DEFAULT) == other.log_of(DEFAULT)
        assert len(running.issuers.log_of(DEFAULT)) == 11
        assert await running.read(await running.grant()) == "ok"
    async with start() as running:
        assert await running.read(await running.grant()) == "ok"


async def test_an_interrupted_rotation_is_harmless(
    start: Opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key file exists and the database has no row: the old key still signs."""

    async def dies(*_: object, **__: object) -> None:
        raise StorageUnavailable("the disk is full")

    async with start() as running:
        old = running.system.issuer_did
        with monkeypatch.context() as patch:
            patch.setattr(running.system.store.issuer_keys, "succeed", dies)
            with pytest.raises(StorageUnavailable):
                await running.issuers.rotate(DEFAULT, ACT)
        assert _key_files(tmp_path) == ["issuer-default-2.key", "issuer-default.key"]
        assert (running.system.issuer_did, set(running.issuers.trusted)) == (old, {old})
        assert await store_access.receipts(running.system.store, DEFAULT, 10) == ()
    async with start() as running:
        assert running.system.issuer_did == old
        new = await running.issuers.rotate(DEFAULT, ACT)
        assert new.file == "issuer-default-2"
        assert await running.read(await running.grant()) == "ok"


async def test_a_rotation_whose_receipt_cannot_be_stored_changes_nothing(
    start: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no receipt")

    async with start() as running:
        old = running.system.issuer_did
        with monkeypatch.context() as patch:
            patch.setattr(records, "add", fails)
            with pytest.raises(ValueError, match="no receipt"):
                await running.issuers.rotate(DEFAULT, ACT, revoke_old=True)
        await running.issuers.refresh()
        assert [key.did for key in running.issuers.log_of(DEFAULT)] == [old]
        assert await running.system.store.revoked([old]) == frozenset()
        assert await running.read(await running.grant()) == "ok"


async def test_retries_of_a_rotation_are_bounded(
    start: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def overtaken(*_: object, **__: object) -> None:
        nonlocal tries
        tries += 1
        raise ConcurrentRotation("another was faster")

    async with start() as running:
        monkeypatch.setattr(running.system.store.issuer_keys, "succeed", overtaken)
        with pytest.raises(ConcurrentRotation):
            await running.issuers.rotate(DEFAULT, ACT)
    assert tries == 5


async def test_the_number_of_keys_is_what_verifiers_read(
    start: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nomos.server.signing.issuers.MAX_KEYS", 2)
    async with start() as running:
        await running.issuers.rotate(DEFAULT, ACT)
        with pytest.raises(NoMoreKeys):
            await running.issuers.rotate(DEFAULT, ACT)
        assert len(running.issuers.log_of(DEFAULT)) == 2
    assert MAX_KEYS >= 365


async def test_a_clock_set_back_does_not_retire_a_key_before_it_was_made(start: Opens) -> None:
    async with start() as running:
        running.clock.now = NOW - 7200
        await running.issuers.rotate(DEFAULT, ACT)
        retiring, active = running.issuers.log_of(DEFAULT)
        assert retiring.retired_at == active.created_at == NOW


@pytest.mark.parametrize("file", ["issuer-default.key", "issuer-default-2.key"])
async def test_only_the_key_that_signs_must_be_there(
    start: Opens, tmp_path: Path, file: str
) -> None:
    async with start() as running:
        await running.issuers.rotate(DEFAULT, ACT)
    path = tmp_path / "data" / "keys" / file
    path.unlink()
    if file == "issuer-default.key":
        async with start() as running:
            assert await running.read(await running.grant()) == "ok"
        return
    with pytest.raises(ConfigurationError, match=f"{file} is missing"):
        async with start():
            pass
    assert not path.exists()
    path.write_text("07" * 32 + "\n")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=f"{file} is not the key"):
        async with start():
            pass


FORGERIES = {
    "a key put in": "INSERT INTO issuer_keys SELECT tenant, 0, 'did:key:z6Mkother', 'retiring', "
    "file, created_at, created_at, NULL, hash, text, token FROM issuer_keys WHERE seq = 1",
    "a key exchanged": "UPDATE issuer_keys SET did = 'did:key:z6Mkother' WHERE seq = 1",
    "a checkpoint exchanged": "UPDATE issuer_keys SET token = (SELECT token FROM issuer_keys "
    "WHERE seq = 1) WHERE seq = 2",
    "a row rewritten": "UPDATE issuer_keys SET text = replace(text, '\"at\":1', '\"at\":2') "
    "WHERE seq = 1",
    "a key taken out": "DELETE FROM issuer_keys WHERE seq = 1",
    "an old key made active": "UPDATE issuer_keys SET state = 'active', retired_at = NULL "
    "WHERE seq = 1",
    "no key active": "UPDATE issuer_keys SET retired_at = 1 WHERE seq = 2",
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_key_log_stops_the_start(start: Opens, tmp_path: Path, name: str) -> None:
    async with start() as running:
        await running.issuers.rotate(DEFAULT, ACT)
    with _database(tmp_path) as connection:
        connection.execute(FORGERIES[name])
    connection.close()
    with pytest.raises(
        ConfigurationError,
        match=r"the database's key log is not valid|log of keys of tenant default",
    ):
        async with start():
            pass


@pytest.mark.parametrize("name", [*FORGERIES, "no key left"])
async def test_a_forged_key_log_is_refused_while_running(
    start: Opens, tmp_path: Path, name: str
) -> None:
    async with start() as running:
        await running.issuers.rotate(DEFAULT, ACT)
        before = dict(running.issuers.trusted)
        with _database(tmp_path) as connection:
            connection.execute(FORGERIES.get(name, "DELETE FROM issuer_keys"))
        connection.close()
        with pytest.raises(ValueError, match="key log"):
            await running.issuers.refresh()
        assert dict(running.issuers.trusted) == before
        assert await running.read(await running.grant()) == "ok"


async def test_a_key_without_its_file_is_trusted_and_not_used(
    start: Opens,
    tmp_path: Path,
    binary: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is trusted, as the log says, and nothing is signed in its name or the old one's."""
    monkeypatch.setattr("nomos.server.signing.issuers.CHECK_SECONDS", 3600)
    async with start() as running, _beside(running, tmp_path, binary) as other:
        token = await running.grant()
        new = await other.rotate(DEFAULT, ACT)
        (tmp_path / "data" / "keys" / f"{new.file}.key").unlink()
        await running.issuers.refresh()
        assert running.system.issuer_did == new.did
        assert "nothing is signed" in caplog.text
        assert await running.read(token) == "ok"
        refused = await running.control.post("/v1/authorize", json=QUESTION)
        assert (refused.status_code, refused.json()["error_code"]) == (503, "unavailable")
