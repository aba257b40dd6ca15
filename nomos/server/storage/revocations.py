"""What was revoked: tokens, agents, apps, envelopes, issuer keys. Never taken back.

Each revocation is a row of the tenant's log `revocations`, which services follow.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.chain import Link
from nomos.server.storage import logs
from nomos.server.storage.tables import revocations

Kind = Literal["cid", "agent", "app", "envelope", "issuer"]

_AMONG = sa.select(revocations.c.id).where(
    revocations.c.id.in_(sa.bindparam("ids", expanding=True))
)


def among(connection: Connection, ids: Collection[str]) -> frozenset[str]:
    """Those of `ids` that are revoked."""
    return frozenset(connection.scalars(_AMONG, {"ids": list(ids)}))


def kind_of(ident: str) -> Kind:
    """What kind of thing an identifier names; a key counts as an agent's."""
    if ident.startswith("did:"):
        return "agent"
    return "app" if ident.startswith("app_") else "envelope" if ident.startswith("env_") else "cid"


def add(
    connection: Connection, tenant: str, ids: Collection[str], at: int, kind: Kind | None = None
) -> tuple[Link, ...]:
    """Revoke `ids`, and return the new rows; those revoked before stay as they are."""
    known = among(connection, ids)
    return tuple(
        _add(connection, tenant, ident, at, kind or kind_of(ident))
        for ident in sorted(set(ids) - known)
    )


def _add(connection: Connection, tenant: str, ident: str, at: int, kind: Kind) -> Link:
    placed = logs.append(connection, tenant, "revocations", {"id": ident, "kind": kind, "at": at})
    connection.execute(
        revocations.insert(),
        {
            "tenant": tenant,
            "seq": placed.seq,
            "id": ident,
            "kind": kind,
            "at": at,
            "hash": placed.hash,
            "text": placed.text,
        },
    )
    return placed


def after(connection: Connection, tenant: str, seq: int, limit: int) -> tuple[Link, ...]:
    """The rows of the log that follow number `seq`, in order."""
    wanted = (
        sa.select(revocations.c.seq, revocations.c.hash, revocations.c.text)
        .where(revocations.c.tenant == tenant, revocations.c.seq > seq)
        .order_by(revocations.c.seq)
        .limit(limit)
    )
    return tuple(Link(row.seq, row.hash, row.text) for row in connection.execute(wanted))
