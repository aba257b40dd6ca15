"""Reading a secret from a file that a person named, and that only they can read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from nomos.errors import ConfigurationError
from nomos.models import Secret

MAX_FILE: Final = 4096
SEED: Final = re.compile(r"[0-9a-f]{64}")
THEN_REPLACE: Final = ", and replace the key if they may have read it"


def read_key_file(path: str | os.PathLike[str], *, setting: str) -> Secret:
    """Return the Ed25519 seed in `path`: 64 lower-case hex digits, readable by its owner alone.

    Raises `ConfigurationError` naming `setting` for a file that is missing, readable by others
    or not a key. The message never holds what was read.
    """
    where = Path(path)
    hint = f"Make one with: nomos keygen {where}"
    text = read_private_line(where, setting=setting, missing=hint)
    if not SEED.fullmatch(text):
        raise ConfigurationError(
            f"{setting}={where} does not hold an Ed25519 seed (64 lower-case hex digits)",
            setting=setting,
        )
    return Secret(text)


def read_private_line(path: Path, *, setting: str, missing: str = "") -> str:
    """Return the one line of a file that its owner alone can read.

    Raises `ConfigurationError` naming `setting`; `missing` says what to do without the file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        what = f"{setting}={path}: {error.strerror}. {missing}".rstrip()
        raise ConfigurationError(what, setting=setting) from error
    try:
        wrong = problem(os.fstat(descriptor), path)
        if wrong is not None:
            raise ConfigurationError(f"{setting}={path} {wrong}", setting=setting)
        return os.read(descriptor, MAX_FILE).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)


def problem(found: os.stat_result, path: Path | str, *, then: str = THEN_REPLACE) -> str | None:
    """Why a file may not hold a secret, if it may not; `then` is what to do beside `chmod`."""
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_uid not in (0, os.geteuid()):
        return "belongs to another user"
    if found.st_mode & 0o077:
        return (
            f"can be read by others (mode {stat.S_IMODE(found.st_mode):04o}): "
            f"chmod 600 {path}{then}"
        )
    return None
