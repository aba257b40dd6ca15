"""Nonces of invocations that were used: each works once.

A row is kept until its token has expired, leeway included; after that the token is refused for
its age, and the row is no longer needed. That holds only while the clock does not go back: ends
of nonces that were forgotten are kept as spans, and a nonce that ends within one is refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.storage.failures import StorageUnavailable
from nomos.server.storage.tables import nonces, nonces_spans

LEEWAY_SECONDS: Final = 60 + 60
"""The most that a verifier forgives, and as much again for clocks that disagree."""

SHARE: Final = 20_000
"""Nonces of one issuer that are kept at a time."""

MOST_COUNTED: Final = 10_000
"""Issuers whose number of nonces is known without counting."""

APPROVAL: Final = "approval"
"""What stands for the issuer where an approval is claimed; no key has this name."""

PRUNE_EVERY: Final = 32
PRUNED_AT_ONCE: Final = 2 * PRUNE_EVERY
"""Old rows deleted by each 32nd claim: more than came in, so the table stays small."""

GAP_SECONDS: Final = 3600
"""Spans that are no farther apart are one."""

MAX_SPANS: Final = 64

_span = nonces_spans.c
_table = nonces.c
_MATCH = sa.and_(
    _table.issuer == sa.bindparam("issuer_"),
    _table.audience == sa.bindparam("audience_"),
    _table.nonce == sa.bindparam("nonce_"),
)
_NAMES = ("issuer_", "audience_", "nonce_")
_FIND = sa.select(_table.expires_at).where(_MATCH)
_COUNT = sa.select(sa.func.count()).select_from(
    sa.select(_table.nonce)
    .where(_table.issuer == sa.bindparam("issuer_"), _table.expires_at >= sa.bindparam("before"))
    .limit(sa.bindparam("most"))
    .subquery()
)
_DELETE = nonces.delete().where(_MATCH)
_OLD = (
    sa.select(
        _table.issuer.label("issuer_"),
        _table.audience.label("audience_"),
        _table.nonce.label("nonce_"),
        _table.expires_at,
    )
    .where(_table.expires_at < sa.bindparam("before"))
    .order_by(_table.expires_at)
    .limit(PRUNED_AT_ONCE)
)


@dataclass(frozen=True)
class Used:
    """One invocation's nonce; unique for its issuer and audience."""

    issuer: str
    audience: str
    nonce: str
    expires_at: int


class ShareUsed(StorageUnavailable):
    """One agent has used so many tokens that have not expired; others are not affected."""


class Shares:
    """How many nonces one issuer may have in the table; used by one thread at a time.

    They are counted when an issuer was not seen before, and again each time it has used up half of
    what was left to it.
    """

    def __init__(self, most: int = SHARE) -> None:
        self._most = most
        self._left: OrderedDict[str, int] = OrderedDict()
        self._full: OrderedDict[str, int] = OrderedDict()

    def check(self, connection: Connection, issuer: str, now: int) -> None:
        """Raise ShareUsed if the issuer has its share."""
        if issuer == APPROVAL:
            return
        left = self._left.pop(issuer, 0)
        if left <= 0:
            # Counted once a second at most where nothing is left: counting takes a while.
            known = self._full.pop(issuer, None) == now
            counted = self._most if known else connection.scalar(_COUNT, self._counted(issuer, now))
            free = self._most - (counted or 0)
            if free <= 0:
                self._full[issuer] = now
                _bound(self._full)
                raise ShareUsed(
                    f"this agent has used {self._most} tokens that have not expired yet; "
                    "others are not affected"
                )
            left = (free + 1) // 2
        self._left[issuer] = left - 1
        _bound(self._left)

    def _counted(self, issuer: str, now: int) -> dict[str, Any]:
        return {"issuer_": issuer, "before": now - LEEWAY_SECONDS, "most": self._most}


def _bound(kept: OrderedDict[str, int]) -> None:
    if len(kept) > MOST_COUNTED:
        kept.popitem(last=False)


def claim(connection: Connection, used: Used) -> bool:
    """True the first time this nonce is seen, and never again."""
    match = {"issuer_": used.issuer, "audience_": used.audience, "nonce_": used.nonce}
    if connection.execute(_FIND, match).first() is not None:
        return False
    connection.execute(nonces.insert(), dict(vars(used)))
    return True


def prune(connection: Connection, now: int, forgetting: Callable[[int], None] | None = None) -> int:
    """Forget some of the nonces whose tokens have expired, the oldest first.

    Return the time before which one that ends may have been forgotten; 0 if none was. What is
    forgotten is kept in `nonces_spans`; with `forgetting`, it is kept by that function, which is
    called with that time before anything is deleted.
    """
    old = connection.execute(_OLD, {"before": now - LEEWAY_SECONDS}).mappings().all()
    if not old:
        return 0
    before = int(old[-1]["expires_at"]) + 1
    if forgetting is None:
        _remember(connection, int(old[0]["expires_at"]), before - 1)
    else:
        forgetting(before)
    connection.execute(_DELETE, [{name: row[name] for name in _NAMES} for row in old])
    return before


def forgotten_until(connection: Connection, expires_at: int) -> int | None:
    """The end of the span in which a nonce that ends then may have been forgotten, or None."""
    within = sa.and_(_span.first <= expires_at, _span.last >= expires_at)
    return connection.scalar(sa.select(_span.last).where(within).limit(1))


def _remember(connection: Connection, first: int, last: int) -> None:
    """Add a span, joined with those that it touches; of too many, the two nearest are joined.

    Several spans, and not one time, for a clock that was years ahead: what ended then must not
    stand in the way of what ends soon.
    """
    found = connection.execute(sa.select(_span.first, _span.last).order_by(_span.first)).all()
    spans = _joined([*((row.first, row.last) for row in found), (first, last)])
    kept = {(row.first, row.last) for row in found}
    gone = [{"first_": start} for start, end in kept - set(spans)]
    if gone:
        connection.execute(nonces_spans.delete().where(_span.first == sa.bindparam("first_")), gone)
    new = [{"first": start, "last": end} for start, end in spans if (start, end) not in kept]
    if new:
        connection.execute(nonces_spans.insert(), new)


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first - joined[-1][1] <= GAP_SECONDS:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    while len(joined) > MAX_SPANS:
        gaps = [after[0] - before[1] for before, after in pairwise(joined)]
        at = gaps.index(min(gaps))
        joined[at : at + 2] = [(joined[at][0], joined[at + 1][1])]
    return joined
