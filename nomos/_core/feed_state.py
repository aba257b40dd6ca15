"""The state of a follower of the revocation log, which accepts only what the issuer signed. Pure.

A follower knows the head of the log up to which it has read, proven by the issuer's signature, and
every revoked id up to that head. A reply is accepted only if its rows continue from that head one
by one, each containing the hash of the row before, up to the head that a checkpoint signs. So rows
cannot be omitted, changed, reordered or removed. The checkpoint contains the follower's own nonce,
so an old reply is not accepted as a new one.

If the log does not fit in one reply (`more`), rows beyond the proven head are kept in
`FeedState.ahead` and do not count until the signed head is reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nomos._protocol import Checkpoint
from nomos.audit.chain import VERSION, Head, sealed

MAX_ENTRIES: Final = 1000
MAX_ID: Final = 128
EMPTY: Final = Head()


class RevokedIds(AbstractSet[str]):
    """An immutable set to which ids are added without copying all of it; a log may be very long.

    It consists of parts, each at least twice as large as the next: an id is copied only when a part
    has doubled, and a lookup reads few parts.
    """

    __slots__ = ("_parts",)

    def __init__(self, ids: Iterable[str] = ()) -> None:
        only = frozenset(ids)
        self._parts: tuple[frozenset[str], ...] = (only,) if only else ()

    def __contains__(self, ident: object) -> bool:
        return any(ident in part for part in self._parts)

    def __iter__(self) -> Iterator[str]:
        return (ident for part in self._parts for ident in part)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __repr__(self) -> str:
        return f"Ids({len(self)})"

    def with_more(self, ids: Iterable[str]) -> RevokedIds:
        """Return a set that has these ids as well; this set does not change."""
        part = frozenset(ident for ident in ids if ident not in self)
        if not part:
            return self
        parts = list(self._parts)
        while parts and len(parts[-1]) < 2 * len(part):
            part |= parts.pop()
        more = RevokedIds()
        more._parts = (*parts, part)
        return more


@dataclass(frozen=True)
class UnprovenRows:
    """Rows that were read beyond the proven head and are not covered by a signature yet."""

    head: Head
    ids: RevokedIds = field(default_factory=RevokedIds)


@dataclass(frozen=True)
class Floor:
    """How far a control plane's logs were read before: a shorter log is rejected."""

    revocations: Head = EMPTY
    keys: Head = EMPTY


@dataclass(frozen=True)
class FeedState:
    """What a follower knows of a tenant's revocations."""

    tenant: str
    head: Head = EMPTY
    known: RevokedIds = field(default_factory=RevokedIds)
    ahead: UnprovenRows | None = None
    floor: Head = EMPTY
    """How far the log had been read before this follower started; a shorter log is rejected."""

    @property
    def ids(self) -> AbstractSet[str]:
        """Every revoked id up to the proven head."""
        return self.known

    @property
    def since(self) -> int:
        """The number of the last row that was read."""
        return self.head.seq if self.ahead is None else self.ahead.head.seq

    @property
    def complete(self) -> bool:
        """Whether all rows that were read are covered by a signature."""
        return self.ahead is None

    def proven(self) -> FeedState:
        """Return the state without unproven rows: the place to continue from after a problem."""
        return replace(self, ahead=None)


@dataclass(frozen=True)
class FeedProblem:
    """Why a reply is rejected, as the end of a sentence about it."""

    text: str


def advance(
    state: FeedState, reply: Mapping[str, Any], said: Checkpoint, nonce: str
) -> FeedState | FeedProblem:
    """Return the state after a reply, whose checkpoint `said` was verified to be the issuer's."""
    wrong = _misplaced(state, reply, said, nonce)
    if wrong is not None:
        return FeedProblem(wrong)
    signed = Head(said.seq, said.head)
    end = _read(state, reply.get("entries"), signed)
    if isinstance(end, FeedProblem):
        return end
    if end.head == signed:
        return replace(state, head=signed, known=state.known.with_more(end.ids), ahead=None)
    if end.head.seq == signed.seq:
        return FeedProblem(f"row {signed.seq} is not the one that the issuer signed")
    if reply.get("more") is not True or end.head.seq == state.since:
        return FeedProblem(f"row {end.head.seq + 1} is missing: the log ends at row {signed.seq}")
    return replace(state, ahead=end)


def keys_missing(entries: Sequence[Mapping[str, Any]], floor: Head) -> str | None:
    """Return how a proven key log contradicts what was known of it; None if it does not."""
    if len(entries) < floor.seq:
        return f"it was rolled back: it ends at row {len(entries)}, and row {floor.seq} is known"
    if floor.seq > 0 and entries[floor.seq - 1]["hash"] != floor.hash:
        return f"it was rewritten: row {floor.seq} is not the one that is known"
    return None


def _misplaced(
    state: FeedState, reply: Mapping[str, Any], said: Checkpoint, nonce: str
) -> str | None:
    """Return why the checkpoint is not one over this log, made for this request."""
    if said.log != "revocations":
        return f"its checkpoint is over another log ({said.log})"
    if said.tenant != state.tenant or reply.get("tenant") != state.tenant:
        return "it is another tenant's"
    if said.nonce != nonce:
        return "its checkpoint was not made for this request"
    known = max(state.since, state.floor.seq)
    if said.seq < known:
        return f"it was rolled back: it ends at row {said.seq}, and row {known} is known"
    if said.seq == state.head.seq and said.head != state.head.hash:
        return f"it was rewritten: row {said.seq} is not the one that is known"
    return None


def _read(state: FeedState, entries: object, signed: Head) -> UnprovenRows | FeedProblem:
    """Read rows from where the follower is, none of them beyond the signed head."""
    start = state.ahead or UnprovenRows(state.head)
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        return FeedProblem(f"its entries are not a list of at most {MAX_ENTRIES} rows")
    head, ids = start.head, list[str]()
    for entry in entries:
        row = entry.get("row") if isinstance(entry, dict) else None
        number = head.seq + 1
        if number > signed.seq:
            return FeedProblem(f"it has rows beyond row {signed.seq}, which is the signed end")
        wrong = _invalid(row, state.tenant, head)
        if wrong is not None or not isinstance(row, dict):
            return FeedProblem(f"where row {number} should be {wrong}")
        try:
            head = sealed(row, number).head
        except ValueError as failure:
            return FeedProblem(f"row {number} cannot be hashed: {failure}")
        wrong = _changed(entry, head, state.floor)
        if wrong is not None:
            return FeedProblem(wrong)
        ids.append(row["id"])
    return UnprovenRows(head, start.ids.with_more(ids))


def _changed(entry: Mapping[str, Any], head: Head, floor: Head) -> str | None:
    if entry.get("hash") != head.hash:
        return f"row {head.seq} was changed: it does not match its hash"
    if head.seq == floor.seq and head != floor:
        return f"it was rewritten: row {head.seq} is not the one that is known"
    return None


def _invalid(row: object, tenant: str, before: Head) -> str | None:
    if not isinstance(row, dict):
        return "there is no row"
    wanted = {"seq": before.seq + 1, "prev_hash": before.hash, "tenant": tenant, "v": VERSION}
    for name, value in wanted.items():
        if type(row.get(name)) is not type(value) or row[name] != value:
            return f"is a row with an unexpected {name}"
    ident = row.get("id")
    if not isinstance(ident, str) or not 0 < len(ident) <= MAX_ID:
        return "is a row that revokes nothing"
    return None
