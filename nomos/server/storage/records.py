"""Rows of the audit log: one for each decision, call and action of an operator, never changed.

Text that looks like a credential is removed here once more, before the row is hashed: every record
is written by this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit import record as audit
from nomos.audit.chain import ChainedRow
from nomos.audit.record import Kind, Record
from nomos.server.domain.redaction import redact
from nomos.server.storage import logs
from nomos.server.storage.damaged_rows import Damaged, naming
from nomos.server.storage.identifiers import new_ident
from nomos.server.storage.tables import records

CHOSEN: Final = ("command", "resource", "args", "purpose", "request_id", "detail")
"""Members whose text was chosen by a caller, an upstream or a person."""

MAX_TEXT: Final = 512 * 1024
"""The maximum number of characters of a row: half of an export's longest line."""

MAX_FAMILY: Final = 500  # the maximum number of records of one tree that are returned
COLUMNS: Final = ("id", "kind", "at", "app", "cid", "parent", "root")
"""Columns that repeat members of the hashed text, so that rows can be found by them."""

_INSERT: Final = records.insert()

_LINK: Final = (
    records.c.seq,
    sa.cast(records.c.hash, sa.LargeBinary).label("hash"),
    sa.cast(records.c.text, sa.LargeBinary).label("text"),
)
"""A row of the log. Texts are read as bytes: one that is not UTF-8 must not end the reading."""

_Wanted = sa.Select[tuple[int, bytes, bytes]]
_SELECT: Final[_Wanted] = sa.select(*_LINK)


@dataclass(frozen=True)
class Row:
    """A record in its place in the tenant's log."""

    record: Record
    link: ChainedRow


@dataclass(frozen=True)
class Lost:
    """A row that is damaged: its place in the log, and no text."""

    link: ChainedRow


Found = Row | Lost


def new_receipt_id(at: int) -> str:
    """Return an identifier for a record made at `at` (milliseconds)."""
    return new_ident("evt", at)


def add(connection: Connection, record: Record) -> ChainedRow:
    """Write one record at the end of its tenant's log."""
    content = audit.content(record)
    content |= {name: redact(content[name]) for name in CHOSEN if name in content}
    placed = logs.append(connection, record.tenant, "audit", content)
    if len(placed.text) > MAX_TEXT:
        raise ValueError(f"a record of {len(placed.text)} characters; the maximum is {MAX_TEXT}")
    columns = {name: getattr(record, name) for name in COLUMNS}
    connection.execute(_INSERT, {"tenant": record.tenant, **columns, **vars(placed)})
    return placed


def find(connection: Connection, tenant: str, ident: str) -> Row | None:
    """Return the record of that id, if it is the tenant's. Raises Damaged if it cannot be read."""
    found = _found(connection, _of(tenant).where(records.c.id == ident))
    return whole(found[0]) if found else None


def whole(found: Found) -> Row:
    """Return the row, if it can be read. Raises Damaged, naming it."""
    if isinstance(found, Lost):
        raise Damaged(f"row {found.link.seq} of the audit log")
    return found


def newest(
    connection: Connection,
    tenant: str,
    limit: int,
    *,
    app: str | None = None,
    before: int | None = None,
) -> tuple[Found, ...]:
    """Return the tenant's latest records, newest first; optionally of one app, or before a row."""
    wanted = _of(tenant, app)
    if before is not None:
        wanted = wanted.where(records.c.seq < before)
    return _found(connection, wanted.order_by(records.c.seq.desc()).limit(limit))


def after(connection: Connection, tenant: str, seq: int, limit: int) -> tuple[ChainedRow, ...]:
    """Return the rows that follow number `seq`, in order; one that is damaged has no text."""
    wanted = _of(tenant).where(records.c.seq > seq).order_by(records.c.seq).limit(limit)
    return tuple(map(_link, connection.execute(wanted)))


def _link(row: sa.Row[tuple[int, bytes, bytes]]) -> ChainedRow:
    fits = hashlib.sha256(row.text).hexdigest().encode() == row.hash
    return ChainedRow(row.seq, row.hash.decode(errors="replace"), row.text.decode() if fits else "")


def following(
    connection: Connection, tenant: str, seq: int, limit: int, *, app: str | None = None
) -> tuple[Found, ...]:
    """Return the records after number `seq`, oldest first; optionally of one app."""
    wanted = _of(tenant, app).where(records.c.seq > seq)
    return _found(connection, wanted.order_by(records.c.seq).limit(limit))


def of_root(
    connection: Connection, tenant: str, root: str, limit: int, *, links: bool = False
) -> tuple[Found, ...]:
    """Return the latest records with this root agent, newest first; with `links`, only of links."""
    wanted = _of(tenant).where(records.c.root == root)
    if links:
        wanted = wanted.where(records.c.kind == sa.literal_column("'delegation'"))
    return _found(connection, wanted.order_by(records.c.seq.desc()).limit(limit))


def made_at(connection: Connection, tenant: str, kind: Kind, at: int) -> tuple[Found, ...]:
    """Return the tenant's records of one kind that were made in one millisecond."""
    first, after = (new_ident("evt", moment, lambda _: 0) for moment in (at, at + 1))
    made = (records.c.id >= first, records.c.id < after)
    return _found(connection, _of(tenant).where(*made, records.c.kind == kind))


def family(connection: Connection, tenant: str, ident: str) -> tuple[Found, ...]:
    """Return the tree of records that this record belongs to, oldest first; `MAX_FAMILY` at most.

    The record itself is always included. The descendants of a damaged record are left out, because
    its id is not certain.
    """
    first = _first(connection, tenant, ident)
    if first is None:
        return ()
    known: dict[int, Found] = {first.link.seq: first}
    generation = [first.record.id]
    while generation and len(known) < MAX_FAMILY:
        wanted = _of(tenant).where(records.c.parent.in_(generation))
        children = _found(connection, wanted.order_by(records.c.seq).limit(MAX_FAMILY))
        new = [child for child in children if child.link.seq not in known]
        generation = [child.record.id for child in new if isinstance(child, Row)]
        known |= {child.link.seq: child for child in new}
    found = tuple(known[seq] for seq in sorted(known))[:MAX_FAMILY]
    asked = find(connection, tenant, ident)
    if asked is None or any(row.link.seq == asked.link.seq for row in found):
        return found
    return (*found[: MAX_FAMILY - 1], asked)


def _first(connection: Connection, tenant: str, ident: str) -> Row | None:
    """Return the first ancestor of the record `ident`. Parents must be older, so the loop ends."""
    row = find(connection, tenant, ident)
    while row is not None and row.record.parent is not None:
        above = find(connection, tenant, row.record.parent)
        if above is None or above.link.seq >= row.link.seq:
            break
        row = above
    return row


def apps_of_cid(connection: Connection, tenant: str, cid: str) -> tuple[str | None, ...]:
    """Return the apps of the delegation `cid`, by the decision that signed it, or by its first use.

    The issuer's delegations have decisions; those that agents sign are known from their first use.
    Only columns are read, so that a delegation whose record is damaged can be revoked.
    """
    wanted = sa.select(records.c.app).where(
        records.c.cid == cid,
        records.c.tenant == tenant,
        records.c.kind.in_(("decision", "delegation")),
    )
    return tuple(connection.scalars(wanted.order_by(records.c.seq)))


def decisions_since(connection: Connection, at: int) -> Sequence[tuple[str, int, int]]:
    """Return (app, second, count) of the decisions since `at`; reads the end of one index only."""
    second = (records.c.at // 1000).label("second")
    rows = connection.execute(
        sa.select(records.c.app, second, sa.func.count())
        .where(records.c.id >= new_ident("evt", at, lambda _: 0), records.c.kind == "decision")
        .group_by(records.c.app, second)
    )
    return tuple((app, second, count) for app, second, count in rows)


def _of(tenant: str, app: str | None = None) -> _Wanted:
    wanted = _SELECT.where(records.c.tenant == tenant)
    return wanted if app is None else wanted.where(records.c.app == app)


def _found(connection: Connection, wanted: _Wanted) -> tuple[Found, ...]:
    return tuple(map(_read, connection.execute(wanted)))


def _read(row: sa.Row[tuple[int, bytes, bytes]]) -> Found:
    link = _link(row)
    try:
        with naming("it"):
            return Row(audit.read(json.loads(link.text)), link)
    except Damaged:
        return Lost(ChainedRow(link.seq, link.hash, ""))
