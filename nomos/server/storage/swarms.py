"""Swarms as the audit log has them: the links between agents, and their records.

A swarm is identified by the DID of its root agent, which every record of the swarm has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos._identifiers import SHA256
from nomos.audit.record import Record
from nomos.server.storage import records
from nomos.server.storage.damaged_rows import Damaged, Listed, naming
from nomos.server.storage.database import Database
from nomos.server.storage.records import Found, Lost, Row
from nomos.server.storage.tables import records as rows
from nomos.server.storage.tables import revocations

MAX_SEARCHED: Final = 20_000  # the number of links that are searched for a swarm, newest first
AT_ONCE: Final = 5_000  # the maximum number of identifiers in one query of the database


class Swarms:
    """Reads the swarms of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def roots(self, tenant: str, limit: int) -> tuple[str, ...]:
        """Return the root agents of swarms that have links, the one with the latest link first."""
        return await self._database.read(_roots, tenant, limit)

    async def roots_of(self, tenant: str, ident: str) -> tuple[str, ...]:
        """Return the root agents of the swarms that `ident` belongs to, the latest ones first.

        `ident` is a receipt's id, a delegation's cid, an agent's DID or the swarm's label.
        An agent may belong to several swarms, and several swarms may have one label.
        """
        return await self._database.read(_roots_of, tenant, ident)

    async def records(self, tenant: str, root: str, limit: int) -> Listed[Record]:
        """Return a swarm's latest links, its latest records of any kind, and the revocations in it.

        Oldest first; `limit` links, and `limit` records. Revocations are found by the ids that
        they revoke, because their records have no swarm.
        """

        def work(connection: Connection) -> Listed[Record]:
            found: dict[int, Found] = {
                row.link.seq: row
                for links in (True, False)
                for row in records.of_root(connection, tenant, root, limit, links=links)
            }
            family = [row for row in found.values() if isinstance(row, Row)]
            found |= {row.link.seq: row for row in _revoked(connection, tenant, family)}
            rows_ = [found[seq] for seq in sorted(found)]
            return Listed(
                tuple(row.record for row in rows_ if isinstance(row, Row)),
                tuple(str(row.link.seq) for row in rows_ if isinstance(row, Lost)),
            )

        return await self._database.read(work)


def _roots(connection: Connection, tenant: str, limit: int) -> tuple[str, ...]:
    links = _links(tenant)
    newest = sa.func.max(links.c.seq).desc()
    wanted = sa.select(links.c.root).group_by(links.c.root).order_by(newest)
    return tuple(connection.scalars(wanted.limit(limit)))


def _roots_of(connection: Connection, tenant: str, ident: str) -> tuple[str, ...]:
    found: list[str | None] = []
    if ident.startswith("evt_"):
        row = records.find(connection, tenant, ident)
        found = [None if row is None else row.record.root]
    elif SHA256.fullmatch(ident):
        found = [_first(connection, tenant, rows.c.cid == ident)]
    elif ident.startswith("did:"):
        found = _of_agent(connection, tenant, ident)
    # A label may be given without the app that chose it: then several swarms may have it.
    labelled = _swarms_with(
        connection, tenant, f'{ident}"', lambda link: _labelled(link["detail"].get("swarm"), ident)
    )
    return tuple(dict.fromkeys(root for root in (*found, *labelled) if root is not None))


def _labelled(swarm: object, ident: str) -> bool:
    """Return whether a swarm's label is `ident`: `<app id>/<label>`, or the label alone."""
    return isinstance(swarm, str) and ident in (swarm, swarm.partition("/")[2]) and ident != ""


def _of_agent(connection: Connection, tenant: str, did: str) -> list[str | None]:
    """Return the swarm with this root, then those that it joined; itself if it has no links."""
    joined = _swarms_with(connection, tenant, f'"agent":"{did}"', lambda link: link["agent"] == did)
    if records.of_root(connection, tenant, did, 1, links=True):
        return [did, *joined]
    return [*joined, _first(connection, tenant, rows.c.root == did)]


def _swarms_with(
    connection: Connection, tenant: str, text: str, satisfied: Callable[[Any], bool]
) -> Iterator[str]:
    """Return the swarms of links whose records have `text` and are `satisfied`, newest first."""
    links = _links(tenant)
    matches = links.c.text.contains(text, autoescape=True)
    raw = sa.cast(links.c.text, sa.LargeBinary)
    wanted = sa.select(links.c.root, raw).where(matches)
    for root, text_bytes in connection.execute(wanted.order_by(links.c.seq.desc())):
        if _is_satisfied(text_bytes, satisfied):
            yield str(root)


def _is_satisfied(text_bytes: bytes, satisfied: Callable[[Any], bool]) -> bool:
    """Return whether a record is `satisfied`; False if it is damaged."""
    try:
        with naming("it"):
            return satisfied(json.loads(text_bytes))
    except Damaged:
        return False


def _first(connection: Connection, tenant: str, condition: sa.ColumnElement[bool]) -> str | None:
    known = rows.c.root.is_not(None)
    wanted = sa.select(rows.c.root).where(rows.c.tenant == tenant, condition, known)
    return connection.scalar(wanted.limit(1))


def _links(tenant: str) -> sa.Subquery:
    return (
        sa.select(rows.c.seq, rows.c.root, rows.c.text)
        .where(rows.c.tenant == tenant, rows.c.kind == sa.literal_column("'delegation'"))
        .order_by(rows.c.seq.desc())
        .limit(MAX_SEARCHED)
        .subquery()
    )


def _revoked(connection: Connection, tenant: str, family: Iterable[Row]) -> Iterator[Row]:
    """Return the records of revocations of the delegations and agents in these records."""
    named = {name for row in family for name in (row.record.cid, row.record.agent) if name}
    for ident, at in _revocations(connection, tenant, sorted(named)):
        for row in records.made_at(connection, tenant, "revocation", at):
            if isinstance(row, Row) and row.record.detail.get("id") == ident:
                yield row


def _revocations(
    connection: Connection, tenant: str, idents: Sequence[str]
) -> Iterator[tuple[str, int]]:
    """Return those of `idents` that are revoked, and when (milliseconds)."""
    for start in range(0, len(idents), AT_ONCE):
        wanted = sa.select(revocations.c.id, revocations.c.at).where(
            revocations.c.tenant == tenant,
            revocations.c.id.in_(idents[start : start + AT_ONCE]),
        )
        yield from ((str(ident), int(at)) for ident, at in connection.execute(wanted))
