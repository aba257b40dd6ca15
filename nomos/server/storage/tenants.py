"""Rows of tenants: the owners of apps, policies and an issuer key."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.storage.tables import tenants

DEFAULT: Final = "default"  # the tenant of a server that has no other


def issuer_of(connection: Connection, tenant: str) -> str | None:
    """Return the DID of the key that signs for `tenant`; None for a tenant that does not exist."""
    return connection.scalar(sa.select(tenants.c.issuer_did).where(tenants.c.id == tenant))


def add(connection: Connection, tenant: str, issuer_did: str, now: int) -> None:
    """Register a tenant with the key that signs for it."""
    connection.execute(tenants.insert().values(id=tenant, issuer_did=issuer_did, created_at=now))
