"""Secrets read from private files: signing keys, API keys, encryption keys."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from nomos._io.key_encryption import VARIABLE, is_sealed, seal, unseal
from nomos.errors import ConfigurationError
from nomos.models import Secret

MAX_FILE: Final = 4096
SEED: Final = re.compile(r"[0-9a-f]{64}")
THEN_REPLACE: Final = ", and replace the key if they may have read it"


def read_key_file(path: str | os.PathLike[str], *, setting: str) -> Secret:
    """Return the Ed25519 seed in `path`: 64 lower-case hex digits, in a private file.

    Raises `ConfigurationError` naming `setting` for a file that is missing, readable by others or
    not a key. The message never contains what was read.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(
            f"{setting} must be the path of a key file: nomos keygen makes one", setting=setting
        )
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
    """Return the only line of a private file, without white space around it.

    A sealed file (`nomos._io.key_encryption`) is decrypted. Private is a file that only its owner
    can read, or a secret mounted for a container: mode 0440, or owned by root with mode 0640, and
    of a group of this process.

    Raises `ConfigurationError` naming `setting`; `missing` says what to do without the file.
    """
    return unsealed(_line(path, setting=setting, missing=missing), path)


def unsealed(text: str, path: Path) -> str:
    """Decrypt text that was read from `path`, if it is sealed."""
    if not is_sealed(text):
        return text
    key = encryption_key()
    if key is None:
        raise ConfigurationError(
            f"{path} is sealed: set {VARIABLE} to the file with its encryption key",
            setting=VARIABLE,
        )
    return unseal(text, key, path=path)


def sealed(text: str) -> str:
    """Encrypt a line for a key file, if `NOMOS_KEY_ENCRYPTION_KEY_FILE` is set."""
    key = encryption_key()
    return text if key is None else seal(text, key)


def encryption_key() -> bytes | None:
    """Return the key that encrypts key files, None if none is configured.

    Raises `ConfigurationError` for a file that is not private or not 64 hexadecimal digits.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    text = _line(Path(named), setting=VARIABLE, missing="Make one with: openssl rand -hex 32")
    if not SEED.fullmatch(text):
        raise ConfigurationError(
            f"{VARIABLE}={named} does not hold a key of 64 lower-case hex digits", setting=VARIABLE
        )
    return bytes.fromhex(text)


def _line(path: Path, *, setting: str, missing: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        what = f"{setting}={path}: {error.strerror}. {missing}".rstrip()
        raise ConfigurationError(what, setting=setting) from error
    except ValueError as error:
        what = f"{setting}={ascii(str(path))[1:-1]}: not a valid file name"
        raise ConfigurationError(what, setting=setting) from error
    try:
        wrong = why_unsafe(os.fstat(descriptor), path, mounted=True)
        if wrong is not None:
            raise ConfigurationError(f"{setting}={path} {wrong}", setting=setting)
        return os.read(descriptor, MAX_FILE).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)


def why_unsafe(
    found: os.stat_result, path: Path | str, *, then: str = THEN_REPLACE, mounted: bool = False
) -> str | None:
    """Return why a file may not hold a secret, None if it may; `then` is added to `chmod`.

    `mounted` permits what a container gets: a Kubernetes secret is `0440 root:fsGroup`, on a volume
    that cannot be changed.
    """
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (uid {found.st_uid}): run as that user, or copy the file"
    mode = stat.S_IMODE(found.st_mode)
    if not mode & 0o077 or (mounted and _for_own_group(found, mode)):
        return None
    return f"can be read by others (mode {mode:04o}): chmod 600 {path}{then}"


def _for_own_group(found: os.stat_result, mode: int) -> bool:
    """Whether only the owner and a group of this process can read it, and no group can write."""
    if mode & 0o037 or found.st_gid not in (os.getegid(), *os.getgroups()):
        return False
    return not mode & 0o200 or found.st_uid != os.geteuid()
