"""Atomic replacement of files, by way of a folder that no caller can name.

The content of a new file is complete and on the disk before it has its name: it is written in a
folder with a reserved name (`nomos.reserved`), and moved from there. The folder is that of the
workspace's root, or, where a move from there is not possible (another file system, a root that the
PDP may not write to), one in the target's own folder. It is removed when it is empty.

Each file in it is locked (`flock`) by its writer until it has been moved. A file without a lock was
left by a process that was killed: `clear` removes it, and leaves the files of others.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from nomos.reserved import SCRATCH

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KNOWN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_ELSEWHERE: Final = (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors for which the target's own folder is tried."""

TRIES: Final = 64
"""Another writer may remove the empty folder just before a file is made in it."""

UNLOCKED_SECONDS: Final = 3600
"""Where the file system has no locks, a file is a leftover after this time, in seconds."""


def replace(root: int, parent: int, name: str, fill: Callable[[int], None]) -> None:
    """Make the file that `fill` writes to a descriptor the entry `name` of `parent`, atomically.

    `root` and `parent` are descriptors of the workspace and of the target's folder. Raises OSError;
    the entry is then unchanged.
    """
    try:
        _replace(root, parent, name, fill)
    except OSError as error:
        if error.errno not in _ELSEWHERE or os.path.samestat(os.fstat(root), os.fstat(parent)):
            raise
        with suppress(OSError):
            clear(parent)
        _replace(parent, parent, name, fill)


def clear(place: int) -> None:
    """Remove what killed writers left in the scratch folder of `place`, and the empty folder.

    Raises OSError if it cannot be read; a missing folder is not an error.
    """
    try:
        folder = os.open(SCRATCH, _FOLDER, dir_fd=place)
    except FileNotFoundError:
        return
    try:
        _remove_leftovers(folder)
    finally:
        os.close(folder)
    _remove_empty(place)


def _replace(place: int, parent: int, name: str, fill: Callable[[int], None]) -> None:
    with _new_file(place) as (folder, made, scratch):
        fill(made)
        os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=parent)


@contextmanager
def _new_file(place: int) -> Iterator[tuple[int, int, str]]:
    """Yield the scratch folder, a locked file in it and its name; remove the file afterwards."""
    folder, made, scratch = _make(place)
    try:
        yield folder, made, scratch
    finally:
        with suppress(OSError):
            os.unlink(scratch, dir_fd=folder)
        os.close(made)
        os.close(folder)
        _remove_empty(place)


def _make(place: int) -> tuple[int, int, str]:
    failure: OSError | None = None
    for _ in range(TRIES):
        scratch = secrets.token_hex(16)
        with suppress(FileExistsError):
            os.mkdir(SCRATCH, 0o700, dir_fd=place)
        try:
            folder = os.open(SCRATCH, _FOLDER, dir_fd=place)
        except FileNotFoundError as missing:
            failure = missing
            continue
        try:
            made = os.open(scratch, _NEW, 0o666, dir_fd=folder)
        except FileNotFoundError as missing:
            failure = missing
            os.close(folder)
            continue
        except BaseException:
            os.close(folder)
            raise
        _lock(made)
        if os.fstat(made).st_nlink:
            return folder, made, scratch
        os.close(made)  # it was removed as a leftover before it was locked
        os.close(folder)
    raise failure or OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _lock(made: int) -> None:
    with suppress(OSError):  # a file system without locks: age decides there
        fcntl.flock(made, fcntl.LOCK_EX)


def _remove_leftovers(folder: int) -> None:
    for name in os.listdir(folder):
        with suppress(OSError):
            found = os.open(name, _KNOWN, dir_fd=folder)
            try:
                # Still locked while it is removed: its writer may have made it and not locked it
                # yet, and checks, once it has the lock, whether the file is still there.
                if _is_left(found):
                    os.unlink(name, dir_fd=folder)
            finally:
                os.close(found)


def _is_left(found: int) -> bool:
    """Return whether the file has no writer any more; if so, it is locked until it is closed."""
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - os.fstat(found).st_mtime > UNLOCKED_SECONDS
    return True


def _remove_empty(place: int) -> None:
    with suppress(OSError):
        os.rmdir(SCRATCH, dir_fd=place)
