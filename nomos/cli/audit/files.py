"""Exports and checkpoints as files."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import TypeAdapter, ValidationError

from nomos._io.checkpoints import checking
from nomos._io.signer import Signer, shared
from nomos.audit.check import Check
from nomos.errors import ConfigurationError, Unintelligible
from nomos.models import Did

EVERY: Final = 500
"""Rows between two signs of progress."""

MAX_PIN: Final = 16 * 1024
_ROW: Final = b'{"hash":"'
_END: Final = b'{"last":'
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def check() -> Check:
    """Checks signatures by this process's signing binary, which starts when first asked."""
    return checking(Signer(shared()))


def checked_did(text: str) -> str:
    """The DID that a person typed. Raises `ConfigurationError`."""
    try:
        return TypeAdapter[str](Did).validate_python(text.strip())
    except ValidationError:
        raise ConfigurationError(
            "this is not the DID of an issuer: did:key:z6Mk and 44 characters, as in the "
            "control plane's /.well-known/nomos",
            setting="--issuer",
        ) from None


def read_pin(given: str | None) -> str | None:
    """The checkpoint that a person kept: a token, a file with it, or with `--json`'s answer."""
    if given is None or _TOKEN.fullmatch(given):
        return given
    try:
        with Path(given).open("rb") as file:
            text = file.read(MAX_PIN).decode().strip()
        token = json.loads(text)["checkpoint"] if text.startswith("{") else text
    except OSError as failure:
        why = failure.strerror
        raise ConfigurationError(f"{given}: {why}", setting="--checkpoint") from failure
    except (ValueError, KeyError):
        token = None
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        message = f"{given} does not hold a checkpoint: `nomos audit checkpoint` prints one"
        raise ConfigurationError(message, setting="--checkpoint")
    return token


def save(lines: Iterator[bytes], path: Path, progress: Callable[[int], None]) -> int:
    """Write an export to a file, which is there whole or not at all. Returns the rows."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                rows = copy(lines, file, progress)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as failure:
        raise ConfigurationError(f"{path}: {failure.strerror}", setting="--out") from failure
    return rows


def copy(lines: Iterator[bytes], file: BinaryIO, progress: Callable[[int], None]) -> int:
    """Write the lines of an export; raises `Unintelligible` when they stop before their end."""
    rows, last = 0, next(lines, b"")
    for line in lines:
        file.write(last + b"\n")
        last, rows = line, rows + line.startswith(_ROW)
        if rows % EVERY == 0:
            progress(rows)
    # What comes last may be half a line, and must not look like a whole one.
    whole = last.startswith(_END)
    file.write(last + b"\n" if whole else last)
    file.flush()
    if not whole:
        raise Unintelligible(f"the export stopped after {rows} rows, without its end: export again")
    return rows
