"""Registered services that accept a tenant's tokens besides its own PDP, by name and DID."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.server.storage import records
from nomos.server.storage.damaged_rows import Listed, Rows, listed, naming, one, raw_truth, truth
from nomos.server.storage.database import Database
from nomos.server.storage.tables import services


@dataclass(frozen=True)
class Service:
    """A registered service, whose DID is its tokens' audience; `decides`: it is a PDP."""

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
        """Register a service with the receipt of it. Idempotent.

        A repeated registration may change `decides`. Returns "name" or "did" if another service
        has the same; None if the tenant has `limit` services.
        """

        def work(connection: Connection) -> Service | Taken | None:
            with naming("a registered service"):
                known = [_read(row) for row in connection.execute(_SELECT)]
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
        """Remove a service, with the receipt of that; None if there is none."""

        def work(connection: Connection) -> Service | None:
            named = (services.c.tenant == tenant, services.c.name == name)
            found = one(connection, _SELECT.where(*named), _services, f"service {name}")
            if found is None:
                return None
            connection.execute(services.delete().where(*named))
            records.add(connection, receipt(found))
            return found

        return await self._database.write(work)

    async def all(self, tenant: str) -> Listed[Service]:
        """Return the tenant's services by name."""
        wanted = _SELECT.where(services.c.tenant == tenant).order_by(services.c.name)
        return await self._database.read(listed, wanted, services.c.name, _services)

    async def dids(self, tenant: str) -> dict[str, bool]:
        """Return the services' DIDs and whether each decides by policy, except damaged rows."""
        return {each.did: each.decides for each in (await self.all(tenant)).found}


def _changed(connection: Connection, known: Service, service: Service, receipt: Record) -> Service:
    if known.decides == service.decides:
        return known
    named = sa.and_(services.c.tenant == known.tenant, services.c.name == known.name)
    connection.execute(services.update().where(named).values(decides=service.decides))
    records.add(connection, receipt)
    return replace(known, decides=service.decides)


def _services(rows: Rows) -> Iterable[Service]:
    return map(_read, rows)


_SELECT: Final = sa.select(
    *(column for column in services.c if column.name != "decides"), raw_truth(services.c.decides)
)


def _read(row: Any) -> Service:
    values = {**row._mapping, "decides": truth(row.decides)}  # noqa: SLF001 (public)
    return Service(**values)
