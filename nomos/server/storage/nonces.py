"""Rows of used nonces: each invocation works once.

A row is stored until its token has expired, leeway included. After that the token is rejected for
its age, and the row is not needed. That holds only while the clock does not go back. So the expiry
times of deleted nonces are stored as spans, and a nonce that expires within a span is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos._core.shares import LEEWAY_SECONDS
from nomos.server.storage import spans
from nomos.server.storage.tables import nonces

PRUNE_EVERY: Final = 32
PRUNED_AT_ONCE: Final = 2 * PRUNE_EVERY
"""Old rows deleted by each 32nd claim: more than were added, so the table stays small."""

_table = nonces.c
_MATCH = sa.and_(
    _table.issuer == sa.bindparam("issuer_"),
    _table.audience == sa.bindparam("audience_"),
    _table.nonce == sa.bindparam("nonce_"),
)
_NAMES = ("issuer_", "audience_", "nonce_")
_FIND = sa.select(_table.expires_at).where(_MATCH)
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
    match = {"issuer_": used.issuer, "audience_": used.audience, "nonce_": used.nonce}
    if connection.execute(_FIND, match).first() is not None:
        return False
    connection.execute(nonces.insert(), dict(vars(used)))
    return True


def prune(connection: Connection, now: int) -> int:
    """Delete some of the nonces whose tokens have expired, the oldest first.

    Returns the time before which a nonce that expires may have been deleted; 0 if none was.
    """
    old = connection.execute(_OLD, {"before": now - LEEWAY_SECONDS}).mappings().all()
    if not old:
        return 0
    before = int(old[-1]["expires_at"]) + 1
    spans.remember(connection, int(old[0]["expires_at"]), before - 1)
    connection.execute(_DELETE, [{name: row[name] for name in _NAMES} for row in old])
    return before
