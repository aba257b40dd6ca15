"""The interface for checking a checkpoint's signature, and the check of its place in a log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

from nomos._protocol import Checkpoint, Refused
from nomos.audit.chain import Head, Log

Check = Callable[[str, Sequence[str]], Checkpoint | Refused]
"""Returns a token's content if one of the DIDs signed it, or a refusal: `nomos._io.checkpoints`."""

MAX_CHECKPOINT: Final = 4096  # characters of a checkpoint; a typical one has about 600
Misplaced = Literal["other_log", "other_tenant", "other_row", "other_hash"]


def misplaced(said: Checkpoint, log: Log, tenant: str, head: Head) -> Misplaced | None:
    """Return how a checkpoint is not over this row of this log; None if it is."""
    if said.log != log:
        return "other_log"
    if said.tenant != tenant:
        return "other_tenant"
    if said.seq != head.seq:
        return "other_row"
    return None if said.head == head.hash else "other_hash"
