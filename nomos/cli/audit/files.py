"""Reads and writes exports and checkpoints in files."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from nomos._identifiers import JWT, is_did
from nomos._io.checkpoints import checking
from nomos._io.signer import Signer, shared
from nomos.audit.check import Check
from nomos.errors import ConfigurationError, InvalidResponse

PROGRESS_ROWS: Final = 500  # rows between two calls of `progress`
MAX_PIN: Final = 16 * 1024
_ROW: Final = b'{"hash":"'
_END: Final = b'{"last":'


def check() -> Check:
    """Return a signature check by the signing binary, which is started at the first use."""
    return checking(Signer(shared()))


def checked_did(text: str) -> str:
    """Return the DID in an option's text. Raises `ConfigurationError`."""
    did = text.strip()
    if is_did(did):
        return did
    raise ConfigurationError(
        "not the DID of an issuer: pass did:key:z6Mk and 44 characters, as in the "
        "control plane's /.well-known/nomos",
        setting="--issuer",
    )


def read_pin(given: str | None) -> str | None:
    """Return the token of a checkpoint.

    `given` is the token, or the name of a file with the output of `nomos audit checkpoint`, with
    or without --json. Raises `ConfigurationError`.
    """
    if given is None or JWT.fullmatch(given):
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
    if not isinstance(token, str) or not JWT.fullmatch(token):
        message = f"{given} holds no checkpoint. Write one with `nomos audit checkpoint > FILE`"
        raise ConfigurationError(message, setting="--checkpoint")
    return token


def save(lines: Iterator[bytes], path: Path, progress: Callable[[int], None]) -> int:
    """Write an export to a file, created once it is complete; return the number of rows."""
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
    """Write an export; return the rows. Raises `InvalidResponse` if the last line is missing."""
    rows, last = 0, next(lines, b"")
    for line in lines:
        file.write(last + b"\n")
        last, rows = line, rows + line.startswith(_ROW)
        if rows % PROGRESS_ROWS == 0:
            progress(rows)
    # An incomplete last line gets no line end, so that it is not read as a complete one.
    whole = last.startswith(_END)
    file.write(last + b"\n" if whole else last)
    file.flush()
    if not whole:
        raise InvalidResponse(
            f"the export stopped after {rows} rows and is incomplete. Export again"
        )
    return rows
