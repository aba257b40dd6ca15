"""The file `nomos.anchor`: a mark, outside of the database, of the last state of the database.

It is written after every commit and never before one, so the database is at least as new as its
anchor, also after a crash. A database that is older was rolled back, or has lost its journal; one
that has another identity was put in its place.

There are two slots, written in turn, each with the sha256 of its content: a write that a power
cut tears leaves the other slot. Writes are not flushed: an anchor that is behind only detects less.
The file does not protect against a user who can write to the data folder: the keys are there, too.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nomos.audit.chain import Head
from nomos.server.storage.files import write_private

FILE: Final = "nomos.anchor"
SLOT: Final = 8192  # bytes of a slot; each is in disk blocks of its own
VERSION: Final = 1
MAX_HEADS: Final = 24
"""The maximum number of ends of logs that are stored: three logs of eight tenants."""


class DamagedAnchor(Exception):
    """Neither slot is intact. The message does not contain the path."""


@dataclass(frozen=True)
class AnchorMark:
    """A database's identity, its number of commits (0: nothing stored), and ends of its logs."""

    database: str = ""
    commits: int = 0
    heads: tuple[tuple[str, str, Head], ...] = ()


class Anchor:
    """The file of one data folder, open from construction until `close`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor: int | None = os.open(self.path, flags)

    def write(self, mark: AnchorMark) -> None:
        """Write `mark` over the mark before the last one."""
        if self._descriptor is not None:
            os.pwrite(self._descriptor, _encoded(mark), SLOT * (mark.commits % 2))

    def close(self) -> None:
        """Flush and close the file. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def make(folder: Path, mark: AnchorMark) -> None:
    """Write a new anchor with `mark` in both slots; it appears complete or not at all."""
    write_private(folder / FILE, _encoded(mark) * 2, replace=True)


def read(folder: Path) -> AnchorMark | None:
    """Return the latest mark; None if there is no anchor. Raises DamagedAnchor, OSError."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(2 * SLOT)
    marks = [mark for at in (0, SLOT) if (mark := _decoded(content[at : at + SLOT])) is not None]
    if not marks:
        raise DamagedAnchor(f"{FILE} is damaged: neither of its two halves is intact")
    return max(marks, key=lambda mark: mark.commits)


def _encoded(mark: AnchorMark) -> bytes:
    values = {
        "v": VERSION,
        "database": mark.database,
        "commits": mark.commits,
        "heads": [[tenant, log, head.seq, head.hash] for tenant, log, head in mark.heads],
    }
    text = json.dumps(values, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{digest} {text}".encode().ljust(SLOT - 1) + b"\n"


def _decoded(slot: bytes) -> AnchorMark | None:
    digest, _, text = slot.strip().partition(b" ")
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    values: dict[str, Any] = json.loads(text)
    if values.get("v") != VERSION:
        return None
    heads = tuple((tenant, log, Head(seq, hash_)) for tenant, log, seq, hash_ in values["heads"])
    return AnchorMark(values["database"], values["commits"], heads)
