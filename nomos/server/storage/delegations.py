"""What agents handed on to each other: one record for each link, written when it is first used.

A link is known by its cid, which holds the links before it, so whoever knows the last link of a
chain knows them all. Those used lately are remembered: a chain that works on costs no write.
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
    """The record of links, in which each is once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[tuple[str, str | None], str] = OrderedDict()

    async def note(self, links: Sequence[Record]) -> str | None:
        """Keep those links of one chain that are new, and return the id of the last one's record.

        `links` are in the order of the chain, without its root, as `delegation_records` of
        `nomos.server.domain.lineage` makes them; None when there are none. The first
        names its parent; of each other that is the record of the link before it.
        """
        if not links:
            return None
        last = (links[-1].tenant, links[-1].cid)
        if last in self._known:
            self._known.move_to_end(last)
            return self._known[last]
        idents = await self._database.write(lambda connection: _note(connection, links))
        for link, ident in zip(links, idents, strict=True):
            self._known[link.tenant, link.cid] = ident
            self._known.move_to_end((link.tenant, link.cid))
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return idents[-1]


def _note(connection: Connection, links: Sequence[Record]) -> list[str]:
    """The ids of the links' records; those that are not there are written."""
    idents: list[str] = []
    above = links[0].parent
    for link in links:
        above = _find(connection, link) or _add(connection, replace(link, parent=above))
        idents.append(above)
    return idents


def _find(connection: Connection, link: Record) -> str | None:
    return connection.scalar(_FIND, {"tenant": link.tenant, "cid": link.cid})


def _add(connection: Connection, link: Record) -> str:
    records.add(connection, link)
    return link.id
