"""The log of issuer keys, in which each row is signed by the key before it.

Row n names the n-th key, and its checkpoint is signed by the key of row n - 1; the first key signs
its own row. So a reader that trusts one key of the log can trust the keys after it. Keys before it
prove nothing: anyone can make a key and let it name a known key as its successor.

The walk is a generator that yields what to check, for callers that wait and for event loops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomos._protocol import Checkpoint, Refused
from nomos.audit.chain import Head, sealed
from nomos.audit.check import MAX_CHECKPOINT, Check, misplaced

MAX_KEYS: Final = 1024
"""Rows of a key log that are read: one a day for almost three years."""


AsyncCheck = Callable[[str, Sequence[str]], Awaitable[Checkpoint | Refused]]
"""The same as `Check`, to be awaited."""

Walk = Generator[tuple[str, list[str]], Checkpoint | Refused, "IssuerKeyLog"]
"""Yields each checkpoint to verify: its text, and the DIDs that may have signed it."""


class BrokenKeys(ValueError):
    """An invalid key log; the message says which row and why."""


class UnknownIssuer(BrokenKeys):
    """The key that the reader knows is not in the log."""


@dataclass(frozen=True)
class IssuerKeyLog:
    """The DIDs of an issuer, oldest first: the known one with its successors, and those before."""

    trusted: tuple[str, ...]
    earlier: tuple[str, ...] = ()


def trusted(entries: object, tenant: str, known: str, check: Check) -> IssuerKeyLog:
    """Follow a key log from the known key to the current one.

    An entry is `{"row", "hash", "checkpoint"}`. Without entries, the known key is the only one.
    Raises `BrokenKeys`.
    """
    walk = _walk(entries, tenant, known)
    try:
        question = next(walk)
        while True:
            question = walk.send(check(*question))
    except StopIteration as end:
        found: IssuerKeyLog = end.value
        return found


async def trusted_async(
    entries: object, tenant: str, known: str, check: AsyncCheck
) -> IssuerKeyLog:
    """The same as `trusted`, for an event loop."""
    walk = _walk(entries, tenant, known)
    try:
        question = next(walk)
        while True:
            question = walk.send(await check(*question))
    except StopIteration as end:
        found: IssuerKeyLog = end.value
        return found


def _walk(entries: object, tenant: str, known: str) -> Walk:
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise BrokenKeys(f"the key log is not a list of at most {MAX_KEYS} rows")
    if not entries:
        return IssuerKeyLog((known,))
    dids: list[str] = []
    head = Head()
    for number, entry in enumerate(entries, 1):
        row, head = _row(entry, tenant, number, head)
        did = row["did"]
        signer = dids[-1] if dids else did
        said = yield entry["checkpoint"], [signer]
        _refuse_unsigned(said, signer, tenant, head)
        if did in dids:
            raise BrokenKeys(f"row {number} of the key log names a key that an earlier row names")
        dids.append(did)
    if known not in dids:
        raise UnknownIssuer(
            f"the log belongs to another issuer: its keys are {', '.join(dids[-3:])}, "
            f"and {known} is not one of them"
        )
    at = dids.index(known)
    return IssuerKeyLog(tuple(dids[at:]), tuple(dids[:at]))


def _refuse_unsigned(said: Checkpoint | Refused, signer: str, tenant: str, head: Head) -> None:
    where = f"row {head.seq} of the key log"
    if isinstance(said, Refused):
        raise BrokenKeys(f"{where} is not signed by {signer}: {said.message}")
    if misplaced(said, "keys", tenant, head) is not None:
        raise BrokenKeys(f"{where} has the checkpoint of another row")


def _row(entry: Any, tenant: str, number: int, before: Head) -> tuple[Mapping[str, Any], Head]:
    """Return the row of an entry, checked to follow `before`."""
    where = f"row {number} of the key log"
    row = entry.get("row") if isinstance(entry, dict) else None
    if not isinstance(row, dict) or not isinstance(row.get("did"), str):
        raise BrokenKeys(f"{where} names no key")
    token = entry.get("checkpoint")
    if not isinstance(token, str) or len(token) > MAX_CHECKPOINT:
        raise BrokenKeys(f"{where} has no checkpoint")
    try:
        placed = sealed(row, number)
    except ValueError as failure:
        raise BrokenKeys(f"{where} cannot be hashed: {failure}") from None
    if placed.hash != entry.get("hash"):
        raise BrokenKeys(f"{where} was changed: it does not match its hash")
    named = row.get("tenant"), row.get("seq"), row.get("prev_hash")
    if named != (tenant, number, before.hash):
        raise BrokenKeys(f"{where} does not follow the row before it")
    return row, placed.head
