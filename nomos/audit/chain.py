"""Hash-chained logs: rows are numbered from 1, and each contains the hash of the row before.

A tenant has three such logs: `audit` (what happened), `revocations` and `keys` (which keys sign).
`hash = sha256(canonical(row))`, where the row includes its number and `prev_hash`. The last hash
proves every row; a checkpoint is that hash, signed by the issuer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from nomos.audit.canonical import canonical

Log = Literal["audit", "revocations", "keys"]

VERSION: Final = 1
GENESIS: Final = "0" * 64  # the `prev_hash` of the first row of a log


@dataclass(frozen=True)
class Head:
    """The end of a log: the number and hash of its last row."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True)
class ChainedRow:
    """One row in its place: its number, its canonical text, and the hash of that text."""

    seq: int
    hash: str
    text: str

    @property
    def head(self) -> Head:
        """The end of a log whose last row this is."""
        return Head(self.seq, self.hash)


def chained(content: Mapping[str, Any], tenant: str, after: Head) -> ChainedRow:
    """Return `content` as the row of a tenant's log that follows `after`."""
    seq = after.seq + 1
    row = {**content, "v": VERSION, "tenant": tenant, "seq": seq, "prev_hash": after.hash}
    return sealed(row, seq)


def sealed(row: Mapping[str, Any], seq: int) -> ChainedRow:
    """Return a complete row, including `prev_hash`, with its text and hash."""
    text = canonical(dict(row))
    return ChainedRow(seq, hashlib.sha256(text).hexdigest(), text.decode())
