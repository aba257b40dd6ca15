"""Expiry times of deleted nonces, as spans: a nonce that expires within one may have been used.

There are several spans, and not one time, for the case of a clock that was years ahead: nonces that
expired then must not block those that expire soon.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.storage.tables import nonces_spans

GAP_SECONDS: Final = 3600
"""Spans that are no farther apart are joined."""

MAX_SPANS: Final = 64

_span = nonces_spans.c


def forgotten_until(connection: Connection, expires_at: int) -> int | None:
    """Return the end of the span that `expires_at` is in; None if it is in none."""
    within = sa.and_(_span.first <= expires_at, _span.last >= expires_at)
    return connection.scalar(sa.select(_span.last).where(within).limit(1))


def remember(connection: Connection, first: int, last: int) -> None:
    """Add a span, joined with those nearby; if there are too many, the two oldest are joined.

    The time between later spans may be now, or in the future.
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
        joined[:2] = [(joined[0][0], joined[1][1])]
    return joined
