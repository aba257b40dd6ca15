"""Detection of open files that were deleted or replaced, and writing of new ones.

A deleted or replaced file stays open: all writes succeed, and are lost. The comparison takes a few
microseconds for each transaction.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from nomos.server.storage.failures import StorageLost

JOURNALS: Final = ("-wal", "-shm")
"""Suffixes that SQLite adds to a database file's name for the files beside it."""


class Files:
    """Some files as they are now; `check` compares. Threads may share it."""

    def __init__(self, database: Path, others: Iterable[Path]) -> None:
        self._grows, self._size = database, database.lstat().st_size
        self._known = {path: _identity(path) for path in (database, *others)}

    def check(self) -> None:
        """Raise StorageLost unless each path still names the same file.

        The first one may not be shorter than it was, either: a database in use only grows.
        """
        for path, known in self._known.items():
            least = self._size
            try:
                found = os.lstat(path)
            except OSError:
                raise _changed(path, "is gone") from None
            if (found.st_dev, found.st_ino) != known:
                raise _changed(path, "is another file now")
            if path == self._grows:
                if found.st_size < least:
                    raise _changed(path, "was cut")
                self._size = max(self._size, found.st_size)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _changed(path: Path, what: str) -> StorageLost:
    return StorageLost(
        f"{path.name} {what}, while it was in use: no data can be stored. Restore the folder to "
        "its previous state, or stop the server and restore the folder from a backup"
    )


def write_private(path: Path, content: bytes, *, replace: bool) -> None:
    """Write a file for its owner alone: it appears complete, flushed, or not at all.

    Without `replace`, a file that another process made meanwhile stays.
    """
    draft = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        if replace:
            draft.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
