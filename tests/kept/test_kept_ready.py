"""Readiness reflects the ability to answer, and repeated failures do not fill the log."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest
from data_folders import History, copy, opened

from nomos._io.signer import SignerConnection
from nomos.server.log_limits import LogLimit
from nomos.server.storage import write_probe

pytestmark = pytest.mark.anyio


async def test_a_full_disk_is_not_ready_until_there_is_room(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key) as running:
        assert await running.ready() == (200, 200)
        store = running.system.store
        pages = await store.database.write(
            lambda each: each.exec_driver_sql("PRAGMA page_count").scalar()
        )
        await store.database.write(
            lambda each: each.exec_driver_sql(f"PRAGMA max_page_count={pages}").all()
        )
        answered = [(await running.ask(purpose="x" * 280)).status_code for _ in range(30)]
        assert answered[-1] == 503
        assert await running.ready() == (503, 503)
        said = (await running.control.get("/readyz")).json()["error"]
        assert said.startswith("no decision can be stored")


async def test_room_makes_it_ready_again(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key) as running:
        lock = sqlite3.connect(data / "nomos.db", isolation_level=None)
        await running.system.store.database.write(
            lambda each: each.exec_driver_sql("PRAGMA busy_timeout=20").all()
        )
        lock.execute("BEGIN IMMEDIATE")
        assert await running.ready() == (503, 503)
        lock.execute("ROLLBACK")
        lock.close()
        assert await running.ready() == (200, 200)


async def test_a_probe_leaves_no_row_and_is_shared(
    tmp_path: Path, link: SignerConnection, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_probe, "KEPT_SECONDS", 60.0)
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key) as running:
        store = running.system.store
        await store.ready()
        before = store.database.mark.commits
        for _ in range(5):
            assert await running.ready() == (200, 200)
        assert store.database.mark.commits == before
        named = await store.database.read(
            lambda each: each.exec_driver_sql(
                "SELECT (SELECT count(*) FROM probes), (SELECT count(*) FROM records "
                f"WHERE tenant = '{write_probe.TENANT}'), (SELECT count(*) FROM heads WHERE "
                f"tenant = '{write_probe.TENANT}')"
            ).one()
        )
        assert tuple(named) == (1, 0, 0)


async def test_a_corrupt_database_is_not_ready(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    data = copy(history.crashed, tmp_path / "data")
    async with opened(data, link, key=history.key) as running:
        store = running.system.store
        assert await running.ready() == (200, 200)
        await store.database.write(
            lambda each: [
                each.exec_driver_sql("PRAGMA writable_schema=ON"),
                each.exec_driver_sql(
                    "UPDATE sqlite_schema SET rootpage = 999999 WHERE name = 'outbox'"
                ),
            ]
        )
        with pytest.raises(Exception, match="is damaged"):
            await store.database.read_afresh(
                lambda each: each.exec_driver_sql("SELECT * FROM outbox").all()
            )
        assert (await running.ask()).status_code == 503
        assert await running.ready() == (503, 503)
        assert "nomos.db is damaged" in (await running.pdp.get("/readyz")).json()["error"]


async def test_every_system_limits_its_logs(
    tmp_path: Path, link: SignerConnection, history: History
) -> None:
    log = logging.getLogger("nomos.server")
    log.filters.clear()
    async with opened(copy(history.before, tmp_path / "data"), link, key=history.key):
        assert [type(each) for each in log.filters] == [LogLimit]
