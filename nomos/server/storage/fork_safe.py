"""A SQLAlchemy engine that can be used on both sides of a `fork()`.

A forked child inherits SQLite's memory of the locks on a file, but not the locks, and would write
without one. So a file is closed before each `fork()`, once no thread uses it, and opened again on
both sides. Connections to a database server belong to the parent; the child does not touch them.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.engine import Engine

from nomos.server.storage.database import StorageUnavailable


class ForkSafeEngine:
    """An engine, opened with `make` at its first use; for a file, one thread uses it at a time."""

    def __init__(self, make: Callable[[], Engine], *, is_file: bool) -> None:
        self._make = make
        self._is_file = is_file
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._left_behind: list[Engine] = []
        self._closed = False
        with _listing:
            _all.add(self)

    @contextmanager
    def use(self) -> Iterator[Engine]:
        """Yield the engine. Raises `StorageUnavailable` if it is closed, and what `make` does."""
        with self._lock:
            engine = self._opened()
            if self._is_file:  # a fork must not happen meanwhile; SQLite has one writer
                yield engine
                return
        yield engine

    def close(self) -> None:
        """Close the database permanently. Idempotent."""
        with self._lock:
            self._closed = True
            self._dispose()

    def stop(self) -> None:
        """Take the lock: wait for uses that a fork must not interrupt, and prevent new ones."""
        self._lock.acquire()

    def before_fork(self) -> None:
        """Close the engine of a file."""
        if self._is_file:
            self._dispose()

    def in_parent(self) -> None:
        """Release the lock after a fork."""
        self._lock.release()

    def in_child(self) -> None:
        """Start anew in the forked process."""
        self._lock = threading.Lock()
        if self._engine is not None:
            self._left_behind.append(self._engine)  # otherwise its connections would be closed
        self._engine = None

    def _opened(self) -> Engine:
        if self._closed:
            raise StorageUnavailable("the database was closed here: open it again to use it")
        if self._is_file and self._left_behind:
            raise StorageUnavailable(
                "its file was open when this process was forked without os.fork; open it in "
                "each process after the fork"
            )
        if self._engine is None:
            self._engine = self._make()
        return self._engine

    def _dispose(self) -> None:
        # Kept if that fails: a child that finds it must not open the file a second time.
        if self._engine is not None:
            self._engine.dispose()
        self._engine = None


_all: Final[weakref.WeakSet[ForkSafeEngine]] = weakref.WeakSet()
_stopped: Final[list[ForkSafeEngine]] = []
_listing = threading.Lock()
"""Held by the thread that forks, from before the fork until after it."""


def _before_fork() -> None:
    _listing.acquire()
    for each in _all:
        each.stop()
        _stopped.append(each)
        each.before_fork()


def _in_parent() -> None:
    while _stopped:
        _stopped.pop().in_parent()
    _listing.release()


def _in_child() -> None:
    global _listing  # no other thread is left that could hold it
    _listing = threading.Lock()
    _stopped.clear()
    for each in _all:
        each.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
