"""What a parent left for one process and nobody else: opened, read whole, and gone.

Folders that a parent makes for this are named `nomos-child-…` and have mode 0700; see
`child_files`.
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

FOLDER: Final = "nomos-child-"
"""How the name of a folder begins that a parent made for one child."""

AGAIN: Final = (
    "Its parent starts it with child.popen(…), or with what child.env() returns, and keeps that "
    "Child for as long as it takes"
)

_NUMBER: Final = re.compile(r"[1-9][0-9]{0,6}")


@contextmanager
def open_private(path: str, *, setting: str, then: str) -> Iterator[int]:
    """Open a file of this user's that nobody else can read; closed afterwards.

    Raises `ConfigurationError` naming `setting`; `then` is what to do if others could read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no path"
        raise unsafe_file(setting, path, f"cannot be opened: {why}. {AGAIN}") from error
    try:
        wrong = why_unsafe(os.fstat(descriptor), path, then=then)
        if wrong is not None:
            raise unsafe_file(setting, path, wrong)
        yield descriptor
    finally:
        os.close(descriptor)


def open_inherited(number: str, *, setting: str) -> tuple[int, os.stat_result]:
    """Return an open descriptor that this process was started with, and what it is."""
    descriptor = int(number) if _NUMBER.fullmatch(number) else 0
    if descriptor <= 2:
        raise unsafe_file(setting, number, "is not the number of an inherited descriptor")
    try:
        return descriptor, os.fstat(descriptor)
    except OSError as error:
        raise unsafe_file(setting, number, f"is not open in this process. {AGAIN}") from error


def content(descriptor: int, most: int) -> bytes:
    """Return what a file holds from its beginning, wherever others have read to.

    One byte more than `most` is returned of a larger file, which tells that it is one.
    """
    data = b""
    while len(data) <= most:
        chunk = os.pread(descriptor, most + 1 - len(data), len(data))
        if not chunk:
            break
        data += chunk
    return data


def is_child_dir(folder: Path) -> bool:
    """Whether a parent made a folder to hand something over, and nobody else can reach into it."""
    if not folder.name.startswith(FOLDER):
        return False
    try:
        found = folder.lstat()
    except OSError:
        return False
    private = found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return stat.S_ISDIR(found.st_mode) and private


def remove_child_dir(folder: Path) -> None:
    """Remove a folder that a parent made for children, and the one it is in, if empty."""
    for one in (folder, folder.parent):
        if is_child_dir(one):
            with suppress(OSError):
                one.rmdir()


def unsafe_file(setting: str, value: str, sentence: str) -> ConfigurationError:
    shown = value if value.isprintable() and len(value) <= 256 else ascii(value)[:256]
    return ConfigurationError(f"{setting}={shown} {sentence}", setting=setting)
