"""Reading an agent's persistent signing key from the file that a person named."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from nomos.errors import ConfigurationError
from nomos.models import Secret

_SEED = re.compile(r"[0-9a-f]{64}")


def read_key_file(path: str | os.PathLike[str], *, setting: str) -> Secret:
    """Return the Ed25519 seed in `path`: 64 lower-case hex digits, readable by its owner alone.

    Raises `ConfigurationError` naming `setting` for a file that is missing, readable by others
    or not a key. The message never holds what was read.
    """
    where = Path(path)
    try:
        descriptor = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(
            f"{setting}={where}: {error.strerror}. "
            "Make a key with: nomos-ucan keygen (its `seed`), and store it with mode 0600.",
            setting=setting,
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(f"{setting}={where} is not a regular file", setting=setting)
        if found.st_uid not in (0, os.geteuid()):
            raise ConfigurationError(f"{setting}={where} belongs to another user", setting=setting)
        if found.st_mode & 0o077:
            raise ConfigurationError(
                f"{setting}={where} others can read it (mode {stat.S_IMODE(found.st_mode):04o}); "
                f"chmod 600 {where}",
                setting=setting,
            )
        text = file.read(1024).decode("ascii", "replace").strip()
    if not _SEED.fullmatch(text):
        raise ConfigurationError(
            f"{setting}={where} does not hold an Ed25519 seed (64 lower-case hex digits)",
            setting=setting,
        )
    return Secret(text)
