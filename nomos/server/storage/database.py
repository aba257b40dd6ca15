"""Transactions of an event loop, run in threads of the database.

Work is a synchronous function of a SQLAlchemy connection. It runs in a thread of the database, so
a transaction of five statements needs one change of threads, where an asynchronous SQLite driver
needs twenty. Writes are committed in groups: those that queue up while one group is flushed to the
disk share the next flush. Each receives its result after its commit, never before.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from nomos.server.storage.anchor import AnchorMark
from nomos.server.storage.anchor_keeper import AnchorKeeper
from nomos.server.storage.damaged_rows import Damaged, undecodable
from nomos.server.storage.engine import damaged, open_reader, open_writer, unavailable
from nomos.server.storage.failures import StorageClosed, StorageLost, StorageUnavailable

__all__ = ["Database", "StorageClosed", "StorageUnavailable"]

T = TypeVar("T")
P = ParamSpec("P")
Work = Callable[[Connection], T]

READERS: Final = 2
MAX_GROUP: Final = 64
"""The maximum number of writes in one transaction, which share a flush and fail together."""

DAMAGED: Final = (
    "nomos.db is damaged. Stop the server and restore the data folder from a backup: it cannot "
    "be repaired by hand"
)

MAX_WAITING: Final = 8192
"""Writes that may wait; beyond this number the server reports that it is overloaded."""

WAIT_SECONDS: Final = 8.0
"""How long a write may wait, in seconds. After that it is not begun: its caller has given up."""


_LATE: Final = f"the database did not begin this within {WAIT_SECONDS:g} seconds"


@dataclass(frozen=True)
class WorkOutcome:
    """The result of one piece of work."""

    value: Any = None
    error: Exception | None = None


Waiting = tuple[Work[Any], asyncio.Future[Any], float]
"""Work, the future of its result, and the loop's time until which it may be begun."""


class Database:
    """The database of one data folder. It belongs to the event loop that first uses it."""

    def __init__(self, folder: Path) -> None:
        self._writer = WriterConnection(open_writer(folder))
        self._reader = ThreadConnections(open_reader(folder, READERS + 1))
        self._folder = folder
        self._open: Connection | None = None
        self._write_thread = ThreadPoolExecutor(1, "nomos-writer")
        self._read_threads = ThreadPoolExecutor(READERS, "nomos-reader")
        self._waiting: deque[Waiting] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._closed = False

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Run `work(connection, *args, **options)` on one consistent view of the database."""
        self._refuse_when_closed()
        loop = asyncio.get_running_loop()
        bound = _bound(work, *args, **options)
        try:
            done = loop.run_in_executor(self._read_threads, _read, self._reader, bound)
        except RuntimeError:  # the interpreter is ending
            raise StorageClosed from None
        try:
            return await done
        except exc.SQLAlchemyError as failure:
            raise self._unavailable(failure) from failure

    async def keep(self, keeping: Callable[[], AnchorKeeper]) -> None:
        """Count every commit and check every transaction from now on.

        `keeping` is made while the files are open. One connection stays open until `close`:
        otherwise SQLite would remove its journals, and later make new ones.
        """

        def begin() -> AnchorKeeper:
            self._open = self._reader.connect()
            with self._open.begin():
                self._open.exec_driver_sql("SELECT 1 FROM keeping").all()
            return keeping()

        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(self._write_thread, begin)
        self._writer.keeping = self._reader.keeping = made

    @property
    def mark(self) -> AnchorMark:
        """The mark of the last commit that was counted."""
        return AnchorMark() if self._writer.keeping is None else self._writer.keeping.mark

    def lost(self, why: str) -> bool:
        """Refuse all work from now on, because data was lost. False if it was refused before."""
        keeping = self._writer.keeping
        if keeping is None or keeping.trouble is not None:
            return False
        keeping.trouble = why
        return True

    async def read_afresh(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """`read` on a new connection, which has nothing cached."""
        self._refuse_when_closed()

        def run() -> T:
            engine = open_reader(self._folder, 1)
            try:
                with engine.begin() as connection:
                    return work(connection, *args, **options)
            finally:
                engine.dispose()

        self._writer.check()
        try:
            return await asyncio.to_thread(run)
        except exc.SQLAlchemyError as failure:
            raise self._unavailable(failure) from failure

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Run `work(connection, *args, **options)` in a transaction, and return its value.

        The changes are on the disk then. It may run twice: when another piece of work in its group
        fails, each runs alone.
        """
        self._refuse_when_closed()
        if len(self._waiting) >= MAX_WAITING:
            raise StorageUnavailable("too many writes are waiting for the database")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append((_bound(work, *args, **options), done, loop.time() + WAIT_SECONDS))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        return await done

    async def close(self) -> None:
        """Finish running work, then close the files."""
        if self._closed:
            return
        self._closed = True
        while self._draining is not None:
            await asyncio.wait([self._draining])
        for threads in (self._read_threads, self._write_thread):
            await asyncio.to_thread(threads.shutdown)
        # Readers first: the last connection to close writes the journal into the file.
        if self._open is not None:
            await asyncio.to_thread(self._open.close)
        await asyncio.to_thread(self._reader.close)
        await asyncio.to_thread(self._writer.close)
        if self._writer.keeping is not None:
            await asyncio.to_thread(self._writer.keeping.close)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise StorageClosed

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group = self._group(loop.time())
                works = [work for work, _, _ in group]
                if not group:
                    break
                try:
                    outcomes = await loop.run_in_executor(
                        self._write_thread, commit, self._writer, works
                    )
                except RuntimeError:  # the interpreter is ending
                    outcomes = [WorkOutcome(error=StorageClosed())] * len(works)
                for (_, done, _), outcome in zip(group, outcomes, strict=True):
                    self._settle(done, outcome)
        finally:
            self._draining = None

    def _group(self, now: float) -> list[Waiting]:
        """Take the next writes, and refuse those that have waited too long."""
        group: list[Waiting] = []
        while self._waiting and len(group) < MAX_GROUP:
            waiting = self._waiting.popleft()
            if waiting[2] >= now:
                group.append(waiting)
            else:
                self._settle(waiting[1], WorkOutcome(error=StorageUnavailable(_LATE)))
        return group

    def _settle(self, done: asyncio.Future[Any], outcome: WorkOutcome) -> None:
        if done.done():
            return  # the caller was cancelled; the work remains done
        match outcome.error:
            case None:
                done.set_result(outcome.value)
            case exc.SQLAlchemyError() as failure:
                unavailable = self._unavailable(failure)
                unavailable.__cause__ = failure
                done.set_exception(unavailable)
            case failure:
                done.set_exception(failure)

    def _unavailable(self, failure: exc.SQLAlchemyError) -> StorageUnavailable:
        if damaged(failure):
            self.lost(DAMAGED)
            return StorageLost(DAMAGED)
        if undecodable(failure):
            return Damaged()
        return unavailable(failure)


class ThreadConnections:
    """A connection for each thread, kept open: the pool takes longer than a transaction."""

    def __init__(self, engine: Engine) -> None:
        self.keeping: AnchorKeeper | None = None
        self._engine = engine
        self._mine = threading.local()
        self._all: set[Connection] = set()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commit at the end. At a failure roll back, and use a new connection from then on."""
        connection: Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = self._engine.connect()
            self._all.add(connection)
        try:
            with connection.begin():
                yield connection
        except BaseException:
            self._mine.connection = None
            self._all.discard(connection)
            connection.close()
            raise

    def connect(self) -> Connection:
        """Return a new connection for the caller."""
        return self._engine.connect()

    def check(self) -> None:
        """Raise StorageLost if files were replaced, so that what was just read does not count."""
        if self.keeping is not None:
            self.keeping.check()

    def close(self) -> None:
        """Close the connections of the threads, which have ended."""
        while self._all:
            self._all.pop().close()
        self._engine.dispose()


class WriterConnection(ThreadConnections):
    """The connection that changes rows. It counts its commits once there is an anchor."""

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commit at the end, with the count of commits; then move the anchor."""
        mark = None
        with super().transaction() as connection:
            yield connection
            if self.keeping is not None:
                mark = self.keeping.count(connection)
        if self.keeping is not None and mark is not None:
            self.keeping.kept(mark)


def commit(held: ThreadConnections, works: Sequence[Work[Any]]) -> list[WorkOutcome]:
    """Run all of `works` in one transaction; if one fails, each in a transaction of its own."""
    try:
        with held.transaction() as connection:
            outcomes = [WorkOutcome(work(connection)) for work in works]
    except Exception as failure:  # noqa: BLE001 (the caller of this work receives it)
        # The disk is full, or the file is locked or missing: each alone would fail, too.
        of_all = isinstance(failure, exc.OperationalError | StorageLost)
        if len(works) == 1 or (of_all and not undecodable(failure)):
            return [WorkOutcome(error=failure)] * len(works)
        return [commit(held, [work])[0] for work in works]
    return outcomes


def _read(held: ThreadConnections, work: Work[T]) -> T:
    with held.transaction() as connection:
        found = work(connection)
    held.check()
    return found


def _bound(
    work: Callable[Concatenate[Connection, P], T], *args: P.args, **options: P.kwargs
) -> Work[T]:
    return lambda connection: work(connection, *args, **options)
