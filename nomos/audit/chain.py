"""Logs whose rows hold each other: numbered from 1, each naming the hash of the one before.

Three logs of a tenant are made this way: `audit` (what happened), `revocations` (what was taken
back) and `keys` (which keys sign). `hash = sha256(canonical(row))`, where the row includes its
number and `prev_hash`. Whoever knows the last hash can check every row; a checkpoint is that
hash under the issuer's signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from nomos.audit.canonical import canonical

Log = Literal["audit", "revocations", "keys"]

VERSION: Final = 1
GENESIS: Final = "0" * 64
"""What the first row of a log names as the hash of the row before."""


@dataclass(frozen=True)
class Head:
    """Where a log ends: the number and hash of its last row."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True)
class ChainedRow:
    """One row in its place: its number, its canonical text, the hash of that text."""

    seq: int
    hash: str
    text: str

    @property
    def head(self) -> Head:
        """The log's end when this is its last row."""
        return Head(self.seq, self.hash)


def chained(content: Mapping[str, Any], tenant: str, after: Head) -> ChainedRow:
    """Put `content` into a tenant's log after its last row."""
    seq = after.seq + 1
    row = {**content, "v": VERSION, "tenant": tenant, "seq": seq, "prev_hash": after.hash}
    return sealed(row, seq)


def sealed(row: Mapping[str, Any], seq: int) -> ChainedRow:
    """Return a whole row, `prev_hash` and all, with its text and hash."""
    text = canonical(dict(row))
    return ChainedRow(seq, hashlib.sha256(text).hexdigest(), text.decode())
