"""The signing key of this process: inherited from its parent, or in a persistent key file.

    NOMOS_AGENT_KEY_FD               an inherited pipe: 64 hex digits, then end of file
    NOMOS_AGENT_KEY_HANDOVER_FILE    a file for this process only: read once, then removed
    NOMOS_AGENT_KEY_FILE             a persistent key file: read, never changed

An inherited key can be read once, so it is kept for later calls in this process and in its forks.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nomos._core.parent_env import KEY_FD, KEY_FILE, KEY_HANDOVER
from nomos._io.keyfile import SEED, THEN_REPLACE, read_key_file
from nomos._io.private_files import (
    AGAIN,
    content,
    open_inherited,
    open_private,
    remove_child_dir,
    unsafe_file,
)
from nomos.errors import ConfigurationError
from nomos.models import Secret

PATIENCE: Final = 2.0
"""Seconds to wait for the end of the pipe; a parent writes the key before it starts the child."""

MAX_KEY: Final = 65  # bytes: the digits and a line break


def key_from_env(environ: Mapping[str, str]) -> Secret | None:
    """Return the key that the variables name, None if they name none.

    An inherited key takes precedence over a persistent one. Raises `ConfigurationError` naming the
    variable and what to do; no message contains what was read.
    """
    handed = [variable for variable in (KEY_FD, KEY_HANDOVER) if variable in environ]
    if len(handed) == 2:
        raise ConfigurationError(
            f"{KEY_FD} and {KEY_HANDOVER} are both set, but a process has one key: unset the one "
            "that its parent did not set",
            setting=KEY_FD,
        )
    if handed:
        return _once(handed[0], environ[handed[0]])
    path = environ.get(KEY_FILE)
    return read_key_file(path, setting=KEY_FILE) if path else None


def _once(variable: str, value: str) -> Secret:
    with _reading:
        if (variable, value) not in _read:
            _read[variable, value] = _READERS[variable](value)
        known = _read[variable, value]
    if known is None:
        raise unsafe_file(variable, value, f"was read, but holds no key of 64 hex digits. {AGAIN}")
    # A copy, because a guard wipes its key when it closes and another guard may need it later.
    return known.copy()


def _from_descriptor(value: str) -> Secret | None:
    descriptor, found = open_inherited(value, setting=KEY_FD)
    if not stat.S_ISFIFO(found.st_mode):
        raise unsafe_file(KEY_FD, value, f"is not a pipe from its parent. {AGAIN}")
    try:
        return _seed(_drained(descriptor))
    finally:
        os.close(descriptor)


def _drained(pipe: int) -> bytes:
    """Read a pipe until its end, but not beyond the length of a key; empty if it stays open."""
    os.set_blocking(pipe, False)
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    text = b""
    while len(text) <= MAX_KEY:
        if not poll.poll(PATIENCE * 1000):
            return b""
        chunk = os.read(pipe, MAX_KEY + 1)
        if not chunk:
            break
        text += chunk
    return text


def _from_file(value: str) -> Secret | None:
    with open_private(value, setting=KEY_HANDOVER, then=THEN_REPLACE) as descriptor:
        try:
            # The process that removes the file is its only reader: for another one unlink fails.
            Path(value).unlink()
        except OSError as error:
            why = f"cannot be removed, so another process may read it, too: {error.strerror}"
            raise unsafe_file(KEY_HANDOVER, value, why) from error
        text = content(descriptor, MAX_KEY)
    remove_child_dir(Path(value).parent)
    return _seed(text)


def _seed(text: bytes) -> Secret | None:
    digits = text.decode("ascii", "replace").removesuffix("\n")
    return Secret(digits) if SEED.fullmatch(digits) else None


def _after_fork_in_child() -> None:
    global _reading
    _reading = threading.Lock()


_READERS: Final = {KEY_FD: _from_descriptor, KEY_HANDOVER: _from_file}

_read: dict[tuple[str, str], Secret | None] = {}
"""Keys that were read, by variable and value. A descriptor's number may be reused by now."""

_reading = threading.Lock()
os.register_at_fork(after_in_child=_after_fork_in_child)
