"""Issuer keys of all tenants: reads them, stores the first key of one, replaces the active key."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.server.storage import issuer_keys, records, revocations, tenants
from nomos.server.storage.database import Database
from nomos.server.storage.issuer_keys import IssuerKey


class IssuerKeys:
    """Reads the keys, and replaces the active one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def every(self) -> tuple[IssuerKey, ...]:
        """Return the keys of all tenants, each tenant's oldest first."""
        return await self._database.read(issuer_keys.every)

    async def begin(self, key: IssuerKey, at: int) -> None:
        """Store a tenant's first key, and the tenant if it is new. Raises ConcurrentRotation."""

        def work(connection: Connection) -> None:
            if tenants.issuer_of(connection, key.tenant) is None:
                tenants.add(connection, key.tenant, key.did, key.created_at)
            issuer_keys.add(connection, key, at)

        await self._database.write(work)

    async def succeed(
        self, key: IssuerKey, at: int, receipts: Collection[Record], *, revoked: Collection[str]
    ) -> None:
        """Activate `key`, revoke keys before it, store receipts. Raises ConcurrentRotation."""

        def work(connection: Connection) -> None:
            issuer_keys.add(connection, key, at)
            for did in revoked:
                issuer_keys.revoke(connection, key.tenant, did, key.created_at)
            if revoked:
                revocations.add(connection, key.tenant, revoked, at, "issuer")
            for receipt in receipts:
                records.add(connection, receipt)

        await self._database.write(work)
