"""Used nonces, each of which works once, and the spans of those that were deleted.

A row is stored until its token has expired, leeway included; after that the token is rejected for
its age. In case the clock goes back, the expiry times of deleted nonces are stored as spans, and a
nonce that expires within a span is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from nomos._core.shares import LEEWAY_SECONDS
from nomos.server.storage.tables import nonces, nonces_spans

PRUNE_EVERY: Final = 32
PRUNED_AT_ONCE: Final = 2 * PRUNE_EVERY
"""Old rows deleted by each 32nd claim: more than were added, so the table stays small."""

GAP_SECONDS: Final = 3600  # spans that are no farther apart are joined
MAX_SPANS: Final = 64

INSERTS: Final[Mapping[str, sa.Executable]] = {
    "sqlite": sqlite.insert(nonces).on_conflict_do_nothing().returning(nonces.c.nonce),
    "postgresql": postgresql.insert(nonces).on_conflict_do_nothing().returning(nonces.c.nonce),
}
"""One statement per database, which succeeds for one of several concurrent callers."""

_span = nonces_spans.c

_table = nonces.c
_MATCH = sa.and_(
    _table.issuer == sa.bindparam("issuer_"),
    _table.audience == sa.bindparam("audience_"),
    _table.nonce == sa.bindparam("nonce_"),
)
_NAMES = ("issuer_", "audience_", "nonce_")
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
class UsedNonce:
    """One invocation's nonce; unique for its issuer and audience."""

    issuer: str
    audience: str
    nonce: str
    expires_at: int
    family: str | None = None
    """The app, or the first agent, to which the authority was granted."""


def claim(connection: Connection, used: UsedNonce) -> bool:
    """Return True the first time that this nonce is claimed, and never again."""
    insert = INSERTS[connection.dialect.name]
    return connection.execute(insert, dict(vars(used))).first() is not None


def prune(connection: Connection, now: int) -> int:
    """Delete some of the nonces whose tokens have expired, the oldest first.

    Return the time before which a nonce that expires may have been deleted; 0 if none was.
    """
    old = connection.execute(_OLD, {"before": now - LEEWAY_SECONDS}).mappings().all()
    if not old:
        return 0
    before = int(old[-1]["expires_at"]) + 1
    remember_span(connection, int(old[0]["expires_at"]), before - 1)
    connection.execute(_DELETE, [{name: row[name] for name in _NAMES} for row in old])
    return before


def forgotten_until(connection: Connection, expires_at: int) -> int | None:
    """Return the end of the span that `expires_at` is in; None if it is in none."""
    within = sa.and_(_span.first <= expires_at, _span.last >= expires_at)
    return connection.scalar(sa.select(_span.last).where(within).limit(1))


def remember_span(connection: Connection, first: int, last: int) -> None:
    """Add a span, joined with those nearby; if there are too many, the two oldest are joined.

    There are several spans, and not one time: after a clock that was years ahead, the nonces that
    expired then must not block those that expire soon.
    """
    found = connection.execute(sa.select(_span.first, _span.last).order_by(_span.first)).all()
    spans = _joined([*((row.first, row.last) for row in found), (first, last)])
    kept = {(row.first, row.last) for row in found}
    removed = [{"first_": start} for start, end in kept - set(spans)]
    if removed:
        connection.execute(
            nonces_spans.delete().where(_span.first == sa.bindparam("first_")), removed
        )
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
        joined[:2] = [(joined[0][0], joined[1][1])]
    return joined
