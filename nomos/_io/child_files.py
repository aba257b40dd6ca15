"""Files and descriptors that a parent process leaves for its children.

    nomos-child-…/               one for this process, locked (`flock`) while it lives
        nomos-child-…/           one for each child that needs files
            key  chains.json     read once by the child, which removes them and empty folders

Files that the children do not read are removed with their `Child`, at the end of this process, or,
if it is killed, by the next process that makes such a folder.
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
"""Seconds after which a killed process's folder is removed; its children may still be starting."""

_ATTEMPTS: Final = 10


class ChildDirectory:
    """The folder of one child, with mode 0700."""

    def __init__(self) -> None:
        self.path = _made()
        self._finalizer = weakref.finalize(self, _removed, self.path, os.getpid())

    def write(self, name: str, text: str) -> Path:
        """Write a file that only its owner can read, unless it exists; return its path."""
        path = self.path / name
        with suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
                file.write(text)
        return path

    def there(self) -> bool:
        """Whether the child has not removed it yet."""
        return self.path.is_dir()

    def remove(self) -> None:
        """Remove the folder and its files. Idempotent."""
        self._finalizer()


class _ProcessDirectory:
    """The folder that contains those of this process's children; its lock shows it is in use."""

    def __init__(self) -> None:
        try:
            remove_stale(Path(tempfile.gettempdir()), time.time())
            self.path = Path(tempfile.mkdtemp(prefix=FOLDER))
        except OSError as error:
            raise no_temporary_folder(error) from error
        self.lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_stale(within: Path, now: float) -> None:
    """Remove folders that killed processes of this user have left."""
    for folder in within.glob(f"{FOLDER}*"):
        with suppress(OSError):
            if is_child_dir(folder) and now - folder.stat().st_mtime >= OLD:
                _sweep(folder)


def _sweep(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while the process lives
        for one in folder.glob(f"{FOLDER}*"):
            _emptied(one)
        folder.rmdir()
    finally:
        os.close(lock)


def _made() -> Path:
    """Make a folder for a child; the last child to read removes the process's own folder, too."""
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
    raise no_temporary_folder("folders that are created there are removed by another process")


def _removed(folder: Path, maker: int) -> None:
    if os.getpid() != maker:
        return  # in a fork of the process that made it
    with suppress(OSError):
        _emptied(folder)
    remove_child_dir(folder.parent)


def _emptied(folder: Path) -> None:
    for name in NAMES:
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def _after_fork_in_child() -> None:
    """Forget the parent's folder, whose lock must end with the parent."""
    global _place, _making
    if _place is not None:
        os.close(_place.lock)
    _place, _making = None, threading.Lock()


_place: _ProcessDirectory | None = None
_making = threading.Lock()
os.register_at_fork(after_in_child=_after_fork_in_child)


@contextmanager
def descriptors(key: str | None, chains: str | None) -> Iterator[tuple[int | None, int | None]]:
    """Open what one child, and no other, inherits: a pipe with its key, a file with its chains."""
    with ExitStack() as stack:
        yield (
            None if key is None else _pipe(key, stack),
            None if chains is None else _nameless(chains, stack),
        )


def _pipe(text: str, stack: ExitStack) -> int:
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    try:
        os.write(writing, text.encode())  # a few bytes, which always fit into an empty pipe
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
    """Return the error for a missing temporary folder."""
    return ConfigurationError(
        f"a private temporary folder cannot be created: {why}. Set TMPDIR to a folder in which "
        "this process can write",
        setting="TMPDIR",
    )
