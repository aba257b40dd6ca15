"""A database that each process opens for itself, also where one is forked from another.

SQLite keeps in memory which locks its process holds on a file, and a forked child believes what it
reads there although the locks stayed with the parent: it would write beside everybody else. So a
file is closed before each `fork()`, once nobody uses it, and opened again on both sides.
Connections to a server are the parent's, and the child leaves them alone.
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
    """An engine, opened with `make` when it is first used; of a file, used by one at a time."""

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
        """Give the engine. Raises `StorageUnavailable` if it is closed, and what `make` does."""
        with self._lock:
            engine = self._opened()
            if self._is_file:  # a process must not fork with it, and SQLite has one writer anyway
                yield engine
                return
        yield engine

    def close(self) -> None:
        """Let go of the database for good. Idempotent."""
        with self._lock:
            self._closed = True
            self._let_go()

    def stop(self) -> None:
        """Wait until nobody uses it as far as that matters to a fork, and let nobody begin."""
        self._lock.acquire()

    def before_fork(self) -> None:
        """Close a file."""
        if self._is_file:
            self._let_go()

    def in_parent(self) -> None:
        """Go on after a fork."""
        self._lock.release()

    def in_child(self) -> None:
        """Begin again in the process that was forked."""
        self._lock = threading.Lock()
        if self._engine is not None:
            self._left_behind.append(self._engine)  # or its connections would be closed
        self._engine = None

    def _opened(self) -> Engine:
        if self._closed:
            raise StorageUnavailable("the database was closed here: open it again to use it")
        if self._is_file and self._left_behind:
            raise StorageUnavailable(
                "its file was open when this process was forked by other means than os.fork; open "
                "it in each process, after that"
            )
        if self._engine is None:
            self._engine = self._make()
        return self._engine

    def _let_go(self) -> None:
        # Kept if that fails: a child that finds it must not open the file beside it.
        if self._engine is not None:
            self._engine.dispose()
        self._engine = None


_all: Final[weakref.WeakSet[ForkSafeEngine]] = weakref.WeakSet()
_stopped: Final[list[ForkSafeEngine]] = []
_listing = threading.Lock()
"""Held by the one thread that forks, from before until after."""


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
    global _listing  # nobody else is left who could hold it
    _listing = threading.Lock()
    _stopped.clear()
    for each in _all:
        each.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
