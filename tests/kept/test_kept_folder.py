"""Each file of the data folder, damaged in each way: no revoked or used token works.

A damaged folder is refused with a sentence that names the file or row and the way out, or the
damage changes nothing.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from data_folders import DAMAGES, Damage, History, bearer, copy, deleted, opened, rows, soon

from nomos._io.signer import SignerConnection
from nomos.errors import ConfigurationError
from nomos.policy.bundle import Source
from nomos.server.storage import anchor
from nomos.server.storage.store import Store

pytestmark = pytest.mark.anyio

FILES = (
    *("nomos.db", "nomos.db-wal", "nomos.db-shm", "nomos.anchor", "nomos.lock"),
    *("keys/issuer-default.key", "keys/pdp.key"),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", FILES)
async def test_a_damaged_folder_is_refused_or_works_correctly(
    tmp_path: Path, link: SignerConnection, history: History, file: str, damage: Damage
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    damage(data / file, history.before / file)
    try:
        async with opened(data, link, key=history.key) as running:
            assert await running.read(history.revoked) != "ok"
            assert await running.wrote(history.used) != "ok"
            assert await running.ready() == (200, 200)
            assert (await running.ask()).status_code == 200
    except ConfigurationError as refused:
        text = str(refused)
        assert "estore" in text or "Remove" in text, text
        assert "delete" not in text, text


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", [name for name in FILES if not name.endswith("-shm")])
async def test_damage_while_it_runs_loses_no_answer(
    tmp_path: Path, link: SignerConnection, history: History, file: str, damage: Damage
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key) as running:
        assert (await running.ask()).status_code == 200
        damage(data / file, history.before / file)
        reply = await running.ask()
        assert await running.read(history.revoked) != "ok"
        assert await running.wrote(history.used) != "ok"
        if reply.status_code == 200:
            assert reply.json()["receiptId"] in rows(data)
        else:
            assert reply.status_code == 503
            assert await running.ready() == (503, 503)


@pytest.mark.parametrize("name", ["nomos.db", "nomos.db-wal", "nomos.db-shm", "nomos.lock"])
async def test_a_file_deleted_while_it_runs_ends_all_answers_until_it_is_back(
    tmp_path: Path, link: SignerConnection, history: History, name: str
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key) as running:
        token = (await running.grant())["ucan"]
        (data / name).rename(tmp_path / "aside")
        assert (await running.ask()).status_code == 503
        assert await running.read(token) == "revocations_stale"
        assert await running.ready() == (503, 503)
        said = (await running.control.get("/readyz")).json()["error"]
        # SQLite makes its journals anew where it can, which is noticed as well.
        assert f"{name} is gone" in said or f"{name} is another file now" in said
        assert "restore" in said
        (tmp_path / "aside").rename(data / name)
        assert (await running.ask()).status_code == 200
        assert await running.ready() == (200, 200)


async def test_a_folder_deleted_while_it_runs_ends_all_answers(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key) as running:
        data.rename(tmp_path / "gone")
        assert [(await running.ask()).status_code for _ in range(3)] == [503] * 3
        assert await running.ready() == (503, 503)
        (tmp_path / "gone").rename(data)


# What was taken out of the database

LAST = "(SELECT max(seq) FROM {})"
CUT = {
    "the last row of the log": (
        f"DELETE FROM records WHERE seq = {LAST.format('records')}",
        "audit log",
    ),
    "the last rows, and their number": (
        """DELETE FROM records WHERE seq > 1; UPDATE heads SET seq = 1,
        hash = (SELECT hash FROM records) WHERE log = 'audit'""",
        "audit log",
    ),
    "all of the log": ("DELETE FROM records; DELETE FROM heads WHERE log = 'audit'", "audit log"),
    "a row in its midst": ("DELETE FROM records WHERE seq = 2", "row 2 of the audit log"),
    "a row exchanged": (
        "UPDATE records SET hash = (SELECT hash FROM records WHERE seq = 1) WHERE seq = 2",
        "audit log",
    ),
    "a row filed elsewhere": (
        "UPDATE records SET cid = 'other' WHERE seq = 2",
        "has columns that differ",
    ),
    "a revocation": ("DELETE FROM revocations", "log of revocations"),
    "a revocation and its number": (
        "DELETE FROM revocations; DELETE FROM heads WHERE log = 'revocations'",
        "log of revocations",
    ),
    "what was revoked": ("UPDATE revocations SET id = 'other'", "has columns that differ"),
    "what was revoked, and its text": (
        "UPDATE revocations SET id = 'other', text = replace(text, id, 'other')",
        "log of revocations of tenant default is damaged",
    ),
    "an issuer key": ("DELETE FROM issuer_keys", "log of keys"),
    "the count of commits": ("UPDATE keeping SET commits = 1", "rolled back"),
    "the row of that": ("DELETE FROM keeping", "counts its commits"),
    "every row": ("", "has no issuer|not the database"),
}


@pytest.mark.parametrize("what", CUT)
async def test_missing_rows_are_detected_at_the_start(
    tmp_path: Path, link: SignerConnection, history: History, what: str
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    statements, names = CUT[what]
    with sqlite3.connect(data / "nomos.db") as connection:
        named = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema")]
        every = [f"DROP TABLE {name}" for name in named if not name.startswith(("sqlite", "ix"))]
        for statement in statements.split("; ") if statements else every:
            connection.execute(statement)
    connection.close()
    with pytest.raises(ConfigurationError, match=names) as refused:
        async with opened(data, link, key=history.key):
            pass
    assert "Restore the whole folder from a backup" in str(refused.value)


WRITE = "/filesystem/file/write"
ASKS = Source(
    "asks.cedar",
    f"""permit(principal, action, resource);
    @step_up("lead") forbid(principal, action == Action::"{WRITE}", resource)
    unless {{ context.cosigned }};""",
)


async def test_a_restored_row_of_something_ended_is_detected(
    tmp_path: Path, link: SignerConnection
) -> None:
    data = tmp_path / "data"
    async with opened(data, link, policies=(ASKS,)) as running:
        operator = bearer((await running.system.create_app("o", "operator", ["*"])).reveal())
        made = {"name": "bot", "role": "agent"}
        post = running.control.post
        app = (await post("/v1/apps", json=made, headers=operator)).json()["id"]
        assert (await post(f"/v1/apps/{app}/disable", headers=operator)).status_code == 200
        envelope = (await running.ask(WRITE, args={"content": "x"})).json()["approvalEnvelopeId"]
        path = f"/v1/approvals/{envelope}"
        version = (await running.control.get(path, headers=operator)).json()["version"]
        vote = {"approve": False, "version": version}
        assert (await post(f"{path}/decide", json=vote, headers=operator)).status_code == 200
    async with opened(data, link, policies=(ASKS,)):
        pass
    for number, (change, back, names) in enumerate(
        (
            ("apps SET disabled_at = NULL", "apps SET disabled_at = 1", f"app {app} was disabled"),
            ("envelopes SET state = 'pending'", "envelopes SET state = 'denied'", "was denied"),
        )
    ):
        which = f"WHERE id = '{(app, envelope)[number]}'"
        _changed(data, f"UPDATE {change} {which}")
        with pytest.raises(ConfigurationError, match=f"{names}, but it is not"):
            async with opened(data, link, policies=(ASKS,)):
                pass
        _changed(data, f"UPDATE {back} {which}")


def _changed(data: Path, statement: str) -> None:
    with sqlite3.connect(data / "nomos.db") as connection:
        assert connection.execute(statement).rowcount == 1
    connection.close()


async def test_a_missing_signed_row_is_detected_without_an_anchor(
    tmp_path: Path, link: SignerConnection
) -> None:
    """A folder of an older version has none: what it has is its stored checkpoint."""
    data = tmp_path / "data"
    async with opened(data, link) as running:
        await running.grant()
        await running.grant()
        auditor = (await running.system.create_app("auditor", "auditor")).reveal()
        reply = await running.control.get("/v1/audit/checkpoint", headers=bearer(auditor))
        signed = reply.json()["seq"]
    older(data)
    with sqlite3.connect(data / "nomos.db") as connection:
        connection.execute("DELETE FROM records WHERE seq = (SELECT max(seq) FROM records)")
        connection.execute(
            "UPDATE heads SET (seq, hash) = (SELECT seq, hash FROM records ORDER BY seq DESC) "
            "WHERE log = 'audit'"
        )
    connection.close()
    with pytest.raises(ConfigurationError, match=rf"row {signed} of the audit log .* was signed"):
        async with opened(data, link):
            pass


def older(data: Path) -> None:
    """Make the folder one of the version before there were anchors."""
    with sqlite3.connect(data / "nomos.db") as connection:
        connection.execute("UPDATE keeping SET anchored = 0")
    connection.close()
    deleted(data / "nomos.anchor", data)


async def test_a_folder_of_an_older_version_gets_an_anchor(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    older(data)
    async with opened(data, link, key=history.key) as running:
        assert await running.read(history.revoked) == "revoked"
    assert (data / "nomos.anchor").stat().st_mode & 0o777 == 0o600
    (data / "nomos.anchor").unlink()
    with pytest.raises(ConfigurationError, match=r"nomos\.anchor is missing"):
        async with opened(data, link):
            pass


async def test_keys_without_a_database_are_refused_and_a_first_start_that_was_cut_goes_on(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    older(data)
    for name in ("nomos.db", "nomos.db-wal", "nomos.db-shm"):
        (data / name).unlink(missing_ok=True)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"nomos\.db is missing, but the keys"):
            async with opened(data, link):
                pass
    begun = tmp_path / "begun"
    begun.mkdir(mode=0o700)
    anchor.make(begun, anchor.AnchorMark())
    copy(data / "keys", begun / "keys")
    async with opened(begun, link) as running:
        await running.grant()


async def test_rows_deleted_while_it_runs_are_noticed(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key, checkpoint_seconds=0.05) as running:
        with sqlite3.connect(data / "nomos.db") as connection:
            connection.execute("DELETE FROM revocations")
        connection.close()
        for _ in range(200):
            if await running.ready() == (503, 503):
                break
            await soon()
        assert await running.ready() == (503, 503)
        assert await running.read(history.revoked) == "revocations_stale"
        assert (await running.ask()).status_code == 503


async def test_a_store_without_an_anchor_works(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.migrate()
    assert (store.database.mark.commits, store.database.lost("why")) == (0, False)
    await store.close()
