"""Nonces of invocations that were used: each works once.

A row is kept until its token has expired, leeway included; after that the token is refused for
its age, and the row is no longer needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.storage.tables import nonces

LEEWAY_SECONDS: Final = 60 + 60
"""The most that a verifier forgives, and as much again for clocks that disagree."""

PRUNE_EVERY: Final = 32
PRUNED_AT_ONCE: Final = 2 * PRUNE_EVERY
"""Old rows deleted by each 32nd claim: more than came in, so the table stays small."""

_table = nonces.c
_MATCH = sa.and_(
    _table.issuer == sa.bindparam("issuer_"),
    _table.audience == sa.bindparam("audience_"),
    _table.nonce == sa.bindparam("nonce_"),
)
_FIND = sa.select(_table.expires_at).where(_MATCH)
_DELETE = nonces.delete().where(_MATCH)
_OLD = (
    sa.select(
        _table.issuer.label("issuer_"),
        _table.audience.label("audience_"),
        _table.nonce.label("nonce_"),
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


def claim(connection: Connection, used: Used) -> bool:
    """True the first time this nonce is seen, and never again."""
    match = {"issuer_": used.issuer, "audience_": used.audience, "nonce_": used.nonce}
    if connection.execute(_FIND, match).first() is not None:
        return False
    connection.execute(nonces.insert(), dict(vars(used)))
    return True


def prune(connection: Connection, now: int) -> None:
    """Forget some of the nonces whose tokens have expired, the oldest first."""
    old = connection.execute(_OLD, {"before": now - LEEWAY_SECONDS}).mappings().all()
    if old:
        connection.execute(_DELETE, [dict(row) for row in old])
