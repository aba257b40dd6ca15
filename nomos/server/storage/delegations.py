"""Audit records of links that agents signed: one for each link, written at its first use.

A link is identified by its cid, which covers the links before it, so the last link of a chain
identifies them all. Links used lately are cached: a chain in repeated use needs no write.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.server.storage import records
from nomos.server.storage.database import Database
from nomos.server.storage.tables import records as rows

REMEMBERED: Final = 10_000

_FIND: Final = sa.select(rows.c.id).where(
    rows.c.tenant == sa.bindparam("tenant"),
    rows.c.cid == sa.bindparam("cid"),
    rows.c.kind == sa.literal_column("'delegation'"),
)


class DelegationTable:
    """Records of links; each link has one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[str, str | None], str] = OrderedDict()

    async def note(self, links: Sequence[Record]) -> str | None:
        """Record those links of one chain that are new; return the id of the last link's record.

        `links` are those of `nomos.server.domain.lineage.delegation_records`; None if there are
        none. The first names its parent; that of each other one is the record before it.
        """
        if not links:
            return None
        last = (links[-1].tenant, links[-1].cid)
        if last in self._known:
            self._known.move_to_end(last)
            return self._known[last]
        idents = await self._database.write(_note, links)
        for link, ident in zip(links, idents, strict=True):
            self._known[link.tenant, link.cid] = ident
            self._known.move_to_end((link.tenant, link.cid))
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return idents[-1]


def _note(connection: Connection, links: Sequence[Record]) -> list[str]:
    """Return the ids of the links' records; missing ones are written."""
    idents: list[str] = []
    above = links[0].parent
    for link in links:
        known = connection.scalar(_FIND, {"tenant": link.tenant, "cid": link.cid})
        if known is None:
            records.add(connection, replace(link, parent=above))
        above = known or link.id
        idents.append(above)
    return idents
