"""Two processes that open a new database at the same time."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import exc

from nomos.server.storage import engine


def test_opening_waits_while_another_process_makes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "used.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (n)")
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    timer.start()
    try:
        with engine.open_file(path).connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    finally:
        timer.join()
        other.close()


def test_opening_a_locked_file_fails_after_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.1)
    path = tmp_path / "used.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE t (n)")
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(exc.OperationalError, match="locked"):
            engine.open_file(path).connect()
    finally:
        other.close()


def test_a_file_that_is_no_database_fails_at_once(tmp_path: Path) -> None:
    path = tmp_path / "used.db"
    path.write_bytes(b"no database at all, and long enough to have a header of its own" * 9)
    with pytest.raises(exc.DatabaseError, match="not a database"):
        engine.open_file(path).connect()
