"""Transactions: grouped, isolated from failures of others, durable before they return."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import quick_commits
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateTable

from nomos.server.storage import database as module
from nomos.server.storage import engine as engine_module
from nomos.server.storage import tables
from nomos.server.storage.database import Database, StorageClosed, StorageUnavailable, commit
from nomos.server.storage.engine import open_reader, open_writer
from nomos.server.storage.migrate import upgrade
from nomos.server.storage.tables import tenants

pytestmark = pytest.mark.anyio

Work = Callable[[Connection], Any]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path)
    await database.write(upgrade)
    yield database
    await database.close()


def add(ident: str) -> Work:
    def work(connection: Connection) -> str:
        connection.execute(tenants.insert().values(id=ident, issuer_did=ident, created_at=1))
        return ident

    return work


def fail(connection: Connection) -> None:
    add("half done")(connection)
    raise ValueError("a bug")


async def ids(database: Database) -> set[str]:
    return set(await database.read(lambda c: c.scalars(sa.select(tenants.c.id)).all()))


class Gate:
    """Work that holds the writer until it is let go, so that others queue up behind it."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, connection: Connection) -> None:
        self.begun.set()
        assert self.go.wait(10)

    async def hold(self, database: Database) -> asyncio.Task[None]:
        held = asyncio.create_task(database.write(self))
        assert await asyncio.to_thread(self.begun.wait, 10)
        return held


async def test_written_rows_are_read(database: Database) -> None:
    assert await database.write(add("a")) == "a"
    assert await ids(database) == {"a"}


async def test_writes_that_wait_share_a_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counting(engine: Any, works: Any) -> Any:
        sizes.append(len(works))
        return commit(engine, works)

    monkeypatch.setattr(module, "commit", counting)
    gate = Gate()
    held = await gate.hold(database)
    waiting = [asyncio.create_task(database.write(add(f"{n}"))) for n in range(100)]
    await asyncio.sleep(0)
    gate.go.set()
    assert await asyncio.gather(*waiting) == [f"{n}" for n in range(100)]
    await held
    assert sizes == [1, 64, 36]
    assert len(await ids(database)) == 100


async def test_a_write_returns_after_its_commit(database: Database, tmp_path: Path) -> None:
    """Another connection sees the row as soon as the write has returned."""
    other = sqlite3.connect(tmp_path / "nomos.db")
    for n in range(20):
        await database.write(add(f"{n}"))
        found = other.execute("SELECT count(*) FROM tenants WHERE id = ?", (f"{n}",))
        assert found.fetchone() == (1,)
    other.close()


async def test_one_failed_write_does_not_fail_its_group(database: Database) -> None:
    gate = Gate()
    held = await gate.hold(database)
    works = [add("a"), fail, add("b"), add("a"), add("c")]
    waiting = [asyncio.create_task(database.write(work)) for work in works]
    await asyncio.sleep(0)
    gate.go.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    await held
    assert [outcomes[0], outcomes[2], outcomes[4]] == ["a", "b", "c"]
    assert isinstance(outcomes[1], ValueError)
    assert isinstance(outcomes[3], StorageUnavailable)
    assert await ids(database) == {"a", "b", "c"}


async def test_a_cancelled_write_does_not_affect_others(database: Database) -> None:
    gate = Gate()
    held = await gate.hold(database)
    impatient = asyncio.create_task(database.write(add("a")))
    patient = asyncio.create_task(database.write(add("b")))
    await asyncio.sleep(0)
    impatient.cancel()
    gate.go.set()
    assert await patient == "b"
    await held
    assert await ids(database) == {"a", "b"}


async def test_too_many_waiting_writes_are_turned_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    gate = Gate()
    held = await gate.hold(database)
    waiting = [asyncio.create_task(database.write(add(f"{n}"))) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailable, match="too many"):
        await database.write(add("one too many"))
    gate.go.set()
    await asyncio.gather(held, *waiting)
    assert await ids(database) == {"0", "1"}


async def test_a_write_that_waits_too_long_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    held = await gate.hold(database)
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    late = [asyncio.create_task(database.write(add(f"{n}"))) for n in range(3)]
    await asyncio.sleep(0.2)
    monkeypatch.undo()
    in_time = asyncio.create_task(database.write(add("in time")))
    await asyncio.sleep(0)
    gate.go.set()
    for each in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(each, StorageUnavailable)
        assert "did not begin this" in str(each)
    assert await in_time == "in time"
    await held
    assert await ids(database) == {"in time"}


async def test_at_interpreter_exit_the_database_counts_as_closed(tmp_path: Path) -> None:
    """Its threads are shut down first, and then accept no work."""
    database = Database(tmp_path)
    await database.write(upgrade)
    for threads in (database._read_threads, database._write_thread):
        await asyncio.to_thread(threads.shutdown)
    with pytest.raises(StorageClosed, match="shutting down"):
        await database.read(lambda _: None)
    with pytest.raises(StorageClosed, match="shutting down"):
        await database.write(add("a"))
    await database.close()


async def test_closing_finishes_what_was_begun(tmp_path: Path) -> None:
    database = Database(tmp_path)
    await database.write(upgrade)
    gate = Gate()
    held = await gate.hold(database)
    waiting = asyncio.create_task(database.write(add("a")))
    await asyncio.sleep(0)
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailable, match="shutting down"):
        await database.write(add("b"))
    with pytest.raises(StorageUnavailable, match="shutting down"):
        await database.read(lambda _: None)
    gate.go.set()
    await closing
    assert await waiting == "a"
    await held
    await database.close()
    assert await asyncio.to_thread(os.listdir, tmp_path) == ["nomos.db"]


async def test_a_database_error_does_not_contain_parameters(database: Database) -> None:
    await database.write(add("secret"))
    with pytest.raises(StorageUnavailable) as raised:
        await database.write(add("secret"))
    assert "secret" not in f"{raised.value} {raised.value.__cause__}"
    with pytest.raises(StorageUnavailable):
        await database.read(lambda c: c.exec_driver_sql("SELECT * FROM nowhere"))


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(StorageUnavailable):
        await database.read(add("a"))
    assert await ids(database) == set()


async def test_a_reader_has_one_view_and_never_waits_for_the_writer(database: Database) -> None:
    gate = Gate()

    def counts(connection: Connection) -> tuple[int | None, int | None]:
        count = sa.select(sa.func.count()).select_from(tenants)
        before = connection.scalar(count)
        gate(connection)
        return before, connection.scalar(count)

    reading = asyncio.create_task(database.read(counts))
    assert await asyncio.to_thread(gate.begun.wait, 10)
    await database.write(add("a"))
    gate.go.set()
    assert await reading == (0, 0)


def test_commits_survive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_configure", quick_commits.OWN)
    with open_writer(tmp_path).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        connection.engine.dispose()
    with open_reader(tmp_path, 1).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA query_only").scalar() == 1
        connection.engine.dispose()


def test_a_folder_with_special_characters_works(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%20é"
    folder.mkdir()
    engine = open_writer(folder)
    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()
    assert (folder / "nomos.db").stat().st_size > 0


@pytest.mark.parametrize("table", tables.metadata.sorted_tables, ids=lambda table: table.name)
def test_the_tables_also_compile_for_postgresql(table: sa.Table) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    assert str(CreateTable(table).compile(dialect=dialect))
