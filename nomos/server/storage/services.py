"""Services that honour a tenant's tokens beside its own PDP, by name and by DID."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.server.storage import records
from nomos.server.storage.database import Database
from nomos.server.storage.tables import services


@dataclass(frozen=True)
class Service:
    """A service as its operator registered it; its DID is whom tokens are made out to.

    `decides`: it is a PDP, which decides each call by policy.
    """

    tenant: str
    name: str
    did: str
    url: str
    created_at: int
    decides: bool = False


Taken = Literal["name", "did"]


class Services:
    """The registered services of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, service: Service, limit: int, receipt: Record) -> Service | Taken | None:
        """Register a service with the receipt of it; once is enough, so twice is no error.

        Registered again as one that decides or does not, it is that from then on.
        Returns what stands in the way otherwise: its name or DID is another's, or None when the
        tenant has `limit` services.
        """

        def work(connection: Connection) -> Service | Taken | None:
            known = [_read(row) for row in connection.execute(services.select())]
            for other in known:
                same = (other.tenant, other.name, other.did, other.url)
                if same == (service.tenant, service.name, service.did, service.url):
                    return _changed(connection, other, service, receipt)
                if other.did == service.did:
                    return "did"
                if (other.tenant, other.name) == (service.tenant, service.name):
                    return "name"
            if sum(other.tenant == service.tenant for other in known) >= limit:
                return None
            connection.execute(services.insert(), dict(vars(service)))
            records.add(connection, receipt)
            return service

        return await self._database.write(work)

    async def remove(
        self, tenant: str, name: str, receipt: Callable[[Service], Record]
    ) -> Service | None:
        """Forget a service, with the receipt of that; None if there is none."""

        def work(connection: Connection) -> Service | None:
            named = (services.c.tenant == tenant, services.c.name == name)
            row = connection.execute(services.select().where(*named)).first()
            if row is None:
                return None
            connection.execute(services.delete().where(*named))
            records.add(connection, receipt(_read(row)))
            return _read(row)

        return await self._database.write(work)

    async def all(self, tenant: str) -> tuple[Service, ...]:
        """The tenant's services by name."""
        wanted = services.select().where(services.c.tenant == tenant).order_by(services.c.name)
        return await self._database.read(
            lambda connection: tuple(map(_read, connection.execute(wanted)))
        )

    async def dids(self, tenant: str) -> dict[str, bool]:
        """Whom a token of the tenant may be made out to, and whether each decides by policy."""
        wanted = sa.select(services.c.did, services.c.decides).where(services.c.tenant == tenant)
        return await self._database.read(
            lambda connection: {row.did: bool(row.decides) for row in connection.execute(wanted)}
        )


def _changed(connection: Connection, known: Service, service: Service, receipt: Record) -> Service:
    if known.decides == service.decides:
        return known
    named = sa.and_(services.c.tenant == known.tenant, services.c.name == known.name)
    connection.execute(services.update().where(named).values(decides=service.decides))
    records.add(connection, receipt)
    return replace(known, decides=service.decides)


def _read(row: sa.Row[tuple[object, ...]]) -> Service:
    return Service(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public name for it)
