"""Files and descriptors that only this process may read: opened, read completely, removed.

A parent puts them into folders named `nomos-child-…` with mode 0700; see `child_files`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from nomos._io.keyfile import why_unsafe
from nomos.errors import ConfigurationError

FOLDER: Final = "nomos-child-"  # the prefix of folders that a parent makes for a child

AGAIN: Final = (
    "Its parent must start it with child.popen(…), or with what child.env() returns, and keep "
    "that Child until then"
)
"""What to do if a file or descriptor of the parent is not there."""

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,6}")


@contextmanager
def open_private(path: str, *, setting: str, then: str) -> Iterator[int]:
    """Open a file that only this user can read, and close it afterwards.

    Raises `ConfigurationError` naming `setting`; `then` is what to do if others could read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a path"
        raise unsafe_file(setting, path, f"cannot be opened: {why}. {AGAIN}") from error
    try:
        wrong = why_unsafe(os.fstat(descriptor), path, then=then)
        if wrong is not None:
            raise unsafe_file(setting, path, wrong)
        yield descriptor
    finally:
        os.close(descriptor)


def open_inherited(number: str, *, setting: str) -> tuple[int, os.stat_result]:
    """Return an inherited descriptor and its status; raise `ConfigurationError` if it is closed."""
    descriptor = int(number) if _NUMBER.fullmatch(number) else 0
    if descriptor <= 2:
        raise unsafe_file(setting, number, "is not the number of an inherited descriptor")
    try:
        return descriptor, os.fstat(descriptor)
    except OSError as error:
        raise unsafe_file(setting, number, f"is not open in this process. {AGAIN}") from error


def content(descriptor: int, most: int) -> bytes:
    """Return a file's content from its start, whatever the position; at most `most` + 1 bytes."""
    data = b""
    while len(data) <= most:
        chunk = os.pread(descriptor, most + 1 - len(data), len(data))
        if not chunk:
            break
        data += chunk
    return data


def is_child_dir(folder: Path) -> bool:
    """Whether a parent made this folder for a child, and only this user can enter it."""
    if not folder.name.startswith(FOLDER):
        return False
    try:
        found = folder.lstat()
    except OSError:
        return False
    private = found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return stat.S_ISDIR(found.st_mode) and private


def remove_child_dir(folder: Path) -> None:
    """Remove a folder that a parent made for a child, and the folder around it, if empty."""
    for one in (folder, folder.parent):
        if is_child_dir(one):
            with suppress(OSError):
                one.rmdir()


def unsafe_file(setting: str, value: str, sentence: str) -> ConfigurationError:
    """Return the error for a file or descriptor that cannot be used."""
    shown = value if value.isprintable() and len(value) <= 256 else ascii(value)[:256]
    return ConfigurationError(f"{setting}={shown} {sentence}", setting=setting)
