"""Where an operator's API key is read from, first match wins.

1. the file that `--key-file` names,
2. the file that `NOMOS_OPERATOR_KEY_FILE` names,
3. the variable `NOMOS_OPERATOR_KEY`,
4. the file that `nomos dev` writes; this key is sent to loopback addresses only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nomos._io.keyfile import read_private_line
from nomos._io.urls import is_loopback
from nomos._settings import checked_api_key, stray
from nomos.errors import ConfigurationError
from nomos.models import Secret

KEY_FILE: Final = "NOMOS_OPERATOR_KEY_FILE"
KEY: Final = "NOMOS_OPERATOR_KEY"
DEV_KEY_FILE: Final = Path(".nomos/operator-api-key")
"""What `nomos dev` writes, relative to the folder that it is started in."""


@dataclass(frozen=True)
class OperatorKey:
    """An operator's API key, and where it was read from."""

    secret: Secret
    where: str


def find_key(url: str, key_file: Path | None, environ: Mapping[str, str]) -> OperatorKey:
    """Return the operator's key for `url`; a `ConfigurationError` contains no part of a key."""
    named, value = environ.get(KEY_FILE), environ.get(KEY)
    if key_file is not None:
        return from_file(key_file, "--key-file")
    if named and value:
        raise ConfigurationError(f"{KEY_FILE} and {KEY} are both set; unset one", setting=KEY_FILE)
    if named:
        return from_file(Path(named), KEY_FILE)
    if value:
        return OperatorKey(_checked(value, KEY, KEY), KEY)
    if is_loopback(url) and DEV_KEY_FILE.exists():
        return from_file(DEV_KEY_FILE, "--key-file")
    raise ConfigurationError(
        "no operator API key was found: pass --key-file, or set "
        f"{KEY_FILE} or {KEY}. `nomos dev` writes one to .nomos/operator-api-key",
        setting="--key-file",
    )


def from_file(path: Path, setting: str) -> OperatorKey:
    """Return the API key in `path`, set by `setting`; a `ConfigurationError` has no part of it."""
    return OperatorKey(
        _checked(read_private_line(path, setting=setting), str(path), setting), str(path)
    )


def _checked(text: str, where: str, setting: str) -> Secret:
    try:
        secret = checked_api_key(text)
    except ConfigurationError:
        secret = None
    if secret is None:
        empty = ": it is empty (with `> FILE`, a shell empties FILE before the command reads it)"
        raise ConfigurationError(
            f"{where} does not hold an API key (nomos_<app>_<secret>)"
            f"{stray(text) if text else empty}",
            setting=setting,
        )
    return secret
