"""Access to a server's database for tests only."""

from __future__ import annotations

from collections.abc import Collection

from nomos.audit.record import Record
from nomos.server.storage import apps, records, revocations, tenants
from nomos.server.storage.store import Store


async def receipt(store: Store, tenant: str, ident: str) -> Record | None:
    """One record of the tenant."""
    row = await store.row(tenant, ident)
    return None if row is None else row.record


async def receipts(store: Store, tenant: str, limit: int = 100) -> tuple[Record, ...]:
    """The tenant's latest records, newest first."""
    return tuple(records.whole(row).record for row in await store.rows(tenant, limit))


async def disable_app(store: Store, tenant: str, app: str) -> bool:
    """Refuse the app's keys from now on; False if the tenant has no such app."""
    now = store._now()
    return await store.database.write(apps.disable, tenant, app, now)


async def add_tenant(store: Store, tenant: str, issuer_did: str) -> None:
    """Register a tenant."""
    now = store._now()
    await store.database.write(tenants.add, tenant, issuer_did, now)


async def revoke(store: Store, tenant: str, ids: Collection[str]) -> None:
    """Revoke delegations by cid and keys by DID, for good."""
    at = int(store._clock() * 1000)
    await store.database.write(revocations.add, tenant, ids, at)
