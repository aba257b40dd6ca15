"""Live grants for services that do not decide by policy, stored until they expire.

When other policies are activated, these are the grants that those may deny.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.domain.outdated_grants import ServiceGrant
from nomos.server.storage.database import Database
from nomos.server.storage.steady_clock import Steady
from nomos.server.storage.tables import revocations, service_grants

PRUNE_EVERY: Final = 32
PAGE: Final = 1_000  # the maximum number of grants that are read at once


class ServiceGrants:
    """The live grants of all tenants for their services."""

    def __init__(self, database: Database, clock: Callable[[], float], steady: Steady) -> None:
        self._database = database
        self._clock = clock
        self._steady = steady
        self._added = itertools.count()

    async def add(self, grant: ServiceGrant) -> None:
        """Store a grant before it is returned; now and then, delete those that expired."""
        prune = next(self._added) % PRUNE_EVERY == 0
        now = self._steady.now() if prune else None

        def work(connection: Connection) -> None:
            if now is not None:
                old = service_grants.c.expires_at <= now
                connection.execute(service_grants.delete().where(old))
            connection.execute(service_grants.insert(), dict(vars(grant)))

        await self._database.write(work)

    async def live(
        self, tenant: str, after: ServiceGrant | None = None
    ) -> tuple[ServiceGrant, ...]:
        """Return some unexpired, unrevoked grants after `after`, those that expire last first."""
        columns = service_grants.c
        is_revoked = sa.exists().where(revocations.c.id == columns.cid)
        wanted = (
            _SELECT.where(
                columns.tenant == tenant, columns.expires_at > int(self._clock()), ~is_revoked
            )
            .order_by(columns.expires_at.desc(), columns.cid)
            .limit(PAGE)
        )
        if after is not None:
            end = after.expires_at
            same = sa.and_(columns.expires_at == end, columns.cid > after.cid)
            wanted = wanted.where(sa.or_(columns.expires_at < end, same))
        return await self._database.read(
            lambda connection: tuple(_read(row) for row in connection.execute(wanted))
        )


_SELECT: Final = sa.select(
    *(column for column in service_grants.c if column.name != "text"),
    sa.cast(service_grants.c.text, sa.LargeBinary).label("text"),
)


def _read(row: Any) -> ServiceGrant:
    # A damaged one is returned with the rest: it cannot be shown that policy would allow it.
    values = {**row._mapping, "text": row.text.decode(errors="replace")}  # noqa: SLF001 (public)
    return ServiceGrant(**values)
