"""What was revoked: delegations by their cid, keys by their DID. Never taken back."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.storage.tables import revocations

_AMONG = sa.select(revocations.c.id).where(
    revocations.c.id.in_(sa.bindparam("ids", expanding=True))
)


def among(connection: Connection, ids: Collection[str]) -> frozenset[str]:
    """Those of `ids` that are revoked."""
    return frozenset(connection.scalars(_AMONG, {"ids": list(ids)}))


def add(connection: Connection, tenant: str, ids: Collection[str], at: int) -> None:
    """Revoke `ids`; those revoked before stay as they are."""
    known = among(connection, ids)
    rows = [{"id": ident, "tenant": tenant, "at": at} for ident in sorted(set(ids) - known)]
    if rows:
        connection.execute(revocations.insert(), rows)
