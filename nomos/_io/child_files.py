"""What a parent leaves for its children: files while it lives, open descriptors for a moment.

    nomos-child-…/               one for this process, locked (`flock`) for as long as it lives
        nomos-child-…/           one for each child that needs files
            key  chains.json     read once by the child, which removes what it empties

What the children do not read is removed with their `Child`, at the end of this process, or,
should it be killed, by the next process that makes such a folder.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from nomos._io.private_files import FOLDER, is_child_dir, remove_child_dir
from nomos.errors import ConfigurationError

NAMES: Final = ("key", "chains.json")
"""The files that are written, and so the only ones that are ever removed."""

OLD: Final = 600.0
"""Seconds after which a folder whose maker has died is removed. Its children may still start."""

_ATTEMPTS: Final = 10


class ChildDirectory:
    """The folder of one child, mode 0700."""

    def __init__(self) -> None:
        self.path = _made()
        self._finalizer = weakref.finalize(self, _removed, self.path, os.getpid())

    def write(self, name: str, text: str) -> Path:
        """Write a file that its owner alone can read, unless it is there; return its path."""
        path = self.path / name
        with suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
                file.write(text)
        return path

    def there(self) -> bool:
        """Whether the child has not emptied and removed it yet."""
        return self.path.is_dir()

    def remove(self) -> None:
        """Remove the folder and what is in it. Twice is harmless."""
        self._finalizer()


class _ProcessDirectory:
    """This process's folder for those of its children; the lock says that it lives."""

    def __init__(self) -> None:
        try:
            remove_stale(Path(tempfile.gettempdir()), time.time())
            self.path = Path(tempfile.mkdtemp(prefix=FOLDER))
        except OSError as error:
            raise no_temporary_folder(error) from error
        self.lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_stale(within: Path, now: float) -> None:
    """Remove the folders that killed processes of this user left for children."""
    for folder in within.glob(f"{FOLDER}*"):
        with suppress(OSError):
            if is_child_dir(folder) and now - folder.stat().st_mtime >= OLD:
                _sweep(folder)


def _sweep(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its maker lives
        for one in folder.glob(f"{FOLDER}*"):
            _emptied(one)
        folder.rmdir()
    finally:
        os.close(lock)


def _made() -> Path:
    """Make a folder in this process's own; the last child to read takes that one away, too."""
    global _place
    with _making:
        for _ in range(_ATTEMPTS):
            if _place is None:
                _place = _ProcessDirectory()
            try:
                return Path(tempfile.mkdtemp(prefix=FOLDER, dir=_place.path))
            except FileNotFoundError:
                os.close(_place.lock)
                _place = None
    raise no_temporary_folder("folders that are made there do not stay")


def _removed(folder: Path, maker: int) -> None:
    if os.getpid() != maker:
        return  # in a process that the maker has forked, and which left it behind
    with suppress(OSError):
        _emptied(folder)
    remove_child_dir(folder.parent)


def _emptied(folder: Path) -> None:
    for name in NAMES:
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def _after_fork_in_child() -> None:
    """The folder is the parent's, and locked for as long as that one lives and no longer."""
    global _place, _making
    if _place is not None:
        os.close(_place.lock)
    _place, _making = None, threading.Lock()


_place: _ProcessDirectory | None = None
_making = threading.Lock()
os.register_at_fork(after_in_child=_after_fork_in_child)


@contextmanager
def descriptors(key: str | None, chains: str | None) -> Iterator[tuple[int | None, int | None]]:
    """Open what a child inherits: a pipe with its key, a file without a name with its chains.

    They are closed afterwards, and no other process that starts meanwhile gets them.
    """
    with ExitStack() as stack:
        yield (
            None if key is None else _pipe(key, stack),
            None if chains is None else _nameless(chains, stack),
        )


def _pipe(text: str, stack: ExitStack) -> int:
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    try:
        os.write(writing, text.encode())  # a few bytes, for which every empty pipe has room
    finally:
        os.close(writing)
    return reading


def _nameless(text: str, stack: ExitStack) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("nomos-chains", os.MFD_CLOEXEC)
        stack.callback(os.close, descriptor)
        os.fchmod(descriptor, 0o600)
    else:
        descriptor = stack.enter_context(_unlinked()).fileno()
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _unlinked() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(buffering=0)
    except OSError as error:
        raise no_temporary_folder(error) from error


def no_temporary_folder(why: object) -> ConfigurationError:
    """Say that there is no place for temporary files, and how to name one."""
    return ConfigurationError(
        f"a private folder for temporary files is needed and cannot be made: {why}. Set TMPDIR to "
        "a folder in which this process can write",
        setting="TMPDIR",
    )
