"""The lock of a data folder: one system at a time, released when its process ends.

`flock` belongs to the open file, so it also stops a second system in the same process. A forked
child would keep the lock after its parent has ended, so children close the file first.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path
from typing import Final

from nomos.errors import ConfigurationError

FILE: Final = "nomos.lock"

_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


class FolderLock:
    """The right to use a data folder, from construction until `release`."""

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = os.open(
            folder / FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise self._taken(folder) from taken
        except OSError as failure:
            self.abandon()
            raise ConfigurationError(
                f"cannot lock {folder / FILE}: {failure.strerror}. Use a folder on a local disk",
                setting="data",
            ) from failure
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        _held.add(self)

    def release(self) -> None:
        """Unlock the folder. Idempotent."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.abandon()

    def abandon(self) -> None:
        """Close the file without unlocking it, as a forked child does with its parent's lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _taken(self, folder: Path) -> ConfigurationError:
        assert self._descriptor is not None, "the file was just opened"
        holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
        self.abandon()
        by = f"process {holder}" if holder else "another process"
        return ConfigurationError(
            f"the data folder {folder} is in use by {by}. Stop it, or choose another data "
            "folder for this server",
            setting="data",
        )


def _close_in_child() -> None:
    for lock in list(_held):
        lock.abandon()


os.register_at_fork(after_in_child=_close_in_child)
