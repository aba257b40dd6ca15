"""The chain that a parent handed over, in a variable or in the file that one names."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from nomos._core.parent_env import CHAIN_FILE, MAX_TEXT, from_env
from nomos._io.keyfile import why_unsafe
from nomos._io.private_files import (
    content,
    is_child_dir,
    open_inherited,
    open_private,
    remove_child_dir,
    unsafe_file,
)
from nomos.models import ParentChain

INHERITED: Final = "/dev/fd/"
"""How the path of a file begins that its parent has opened for this process."""

_THEN: Final = ", and ask its parent for another one"


def parent_from_env(environ: Mapping[str, str]) -> ParentChain:
    """Return what a parent handed over; falsy if there is no parent. Nothing is proven yet.

    A file that was made for this process is removed once it was read; what it held is kept for
    all who ask in this process, and in those that it forks. Raises `ConfigurationError`,
    `MalformedChain` or `ChainTooDeep`, naming the variable.
    """
    return from_env(environ, read_chain_file)


def read_chain_file(path: str) -> str:
    """Return the text of a file that holds chains and that its owner alone may read."""
    with _reading:
        data = _taken.get(path)
        if data is None:
            data, again = _inherited(path) if path.startswith(INHERITED) else _file(path)
            if not again:
                _taken[path] = data
    # Other bytes than ASCII are in no token; what they become here is refused as such.
    return data.decode("ascii", "replace")


def _inherited(path: str) -> tuple[bytes, bool]:
    descriptor, found = open_inherited(path.removeprefix(INHERITED), setting=CHAIN_FILE)
    wrong = why_unsafe(found, path, then=_THEN)
    if wrong is not None:
        raise unsafe_file(CHAIN_FILE, path, wrong)
    data = content(descriptor, MAX_TEXT)
    os.close(descriptor)
    return data, False


def _file(path: str) -> tuple[bytes, bool]:
    """Return what a file holds, and whether it is still there."""
    with open_private(path, setting=CHAIN_FILE, then=_THEN) as descriptor:
        data = content(descriptor, MAX_TEXT)
    folder = Path(path).parent
    if not is_child_dir(folder):
        return data, True
    with suppress(OSError):
        Path(path).unlink()
    remove_child_dir(folder)
    return data, False


def _after_fork_in_child() -> None:
    global _reading
    _reading = threading.Lock()


_taken: dict[str, bytes] = {}
"""What was read and is gone, by path. A descriptor's number may name something else by now."""

_reading = threading.Lock()
os.register_at_fork(after_in_child=_after_fork_in_child)
