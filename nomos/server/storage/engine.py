"""SQLAlchemy engines for SQLite in WAL mode, and its error codes.

Readers never wait for the writer, and with `synchronous=FULL` a commit that returned survives a
power cut. The writer takes the lock at the start of a transaction, so none fails half way.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine

from nomos.server.storage.damaged_rows import Damaged
from nomos.server.storage.failures import DiskUnusable, StorageUnavailable

FILE: Final = "nomos.db"
BUSY_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.01

PRIMARY_CODE: Final = 0xFF
"""The mask of SQLite's primary result code, without the detail in the upper bytes."""

# Errors and logs do not show the parameters of statements: replies and hashes are among them.
HIDE: Final = {"hide_parameters": True}


def _from_json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (RecursionError, TypeError, ValueError):
        raise Damaged from None


_OPTIONS: Final[dict[str, Any]] = {**HIDE, "json_deserializer": _from_json}


def open_writer(folder: Path) -> Engine:
    """Return the engine for everything that changes rows: one connection, used by one thread."""
    return open_file(folder / FILE)


def open_file(path: Path) -> Engine:
    """Return the engine of `open_writer`, for a file of any name."""
    _create_private(path)
    engine = sa.create_engine(_url(path), pool_size=1, max_overflow=0, **_OPTIONS)
    _configure(engine, begin="BEGIN IMMEDIATE", pragmas=("synchronous=FULL",))
    return engine


def open_reader(folder: Path, connections: int) -> Engine:
    """Return the engine for reading; it cannot change rows."""
    url = _url(folder / FILE)
    engine = sa.create_engine(url, pool_size=connections, max_overflow=0, **_OPTIONS)
    _configure(engine, begin="BEGIN", pragmas=("query_only=ON",))
    return engine


def damaged(failure: BaseException) -> bool:
    """Return whether SQLite reports that the file is not a database, or is damaged."""
    code = getattr(getattr(failure, "orig", None), "sqlite_errorcode", None)
    return code is not None and code & PRIMARY_CODE in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def unavailable(failure: BaseException) -> StorageUnavailable:
    """Return the error of a failed transaction: the state of the disk, or the failure's type."""
    origin = getattr(failure, "orig", None)
    match getattr(origin, "sqlite_errorcode", 0) & PRIMARY_CODE:
        case sqlite3.SQLITE_FULL:
            return DiskUnusable("the disk is full: free space, or use another one")
        case sqlite3.SQLITE_IOERR:
            message = "the disk cannot be read or written: check it and its free space"
            return DiskUnusable(message)
    return StorageUnavailable(f"the database failed: {type(origin or failure).__name__}")


def _url(path: Path) -> URL:
    return URL.create("sqlite+pysqlite", database=str(path.absolute()))


def _create_private(path: Path) -> None:
    """Create the file with mode 0600. SQLite gives its journal files the same mode."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Switch to WAL, waiting for others that do: SQLite's busy timeout excludes this statement."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & PRIMARY_CODE == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > end:
                raise
            time.sleep(RETRY_SECONDS)
        else:
            return


def _configure(engine: Engine, *, begin: str, pragmas: tuple[str, ...]) -> None:
    def on_connect(connection: Any, _record: object) -> None:
        # The driver must not begin transactions of its own: `on_begin` does, before the first
        # statement and not only before the first that writes.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
        _switch_to_wal(cursor)
        cursor.execute("PRAGMA foreign_keys=ON")
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
