"""The inherited chain, read from its variable or from the file that a variable names."""

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
"""The path prefix of a file that the parent opened for this process."""

_THEN: Final = ", and ask its parent for another one"


def parent_from_env(environ: Mapping[str, str]) -> ParentChain:
    """Return the inherited authority; falsy if there is no parent. Nothing is verified yet.

    A file that was made for this process is removed after it was read; its content is kept for
    later calls in this process and in its forks. Raises `ConfigurationError`, `MalformedChain` or
    `ChainTooDeep`, naming the variable.
    """
    return from_env(environ, read_chain_file)


def read_chain_file(path: str) -> str:
    """Return the text of a file with chains, which only its owner may read."""
    with _reading:
        data = _taken.get(path)
        if data is None:
            data, again = _inherited(path) if path.startswith(INHERITED) else _file(path)
            if not again:
                _taken[path] = data
    # A token is ASCII; the replacement characters of other bytes make it malformed.
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
    """Return the content of a file, and whether the file is still there."""
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
"""Content of files that were removed, by path. A descriptor's number may be reused by now."""

_reading = threading.Lock()
os.register_at_fork(after_in_child=_after_fork_in_child)
