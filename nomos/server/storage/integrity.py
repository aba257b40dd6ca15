"""Integrity checks of the database's rows: missing ones, and contradictions between them.

Three logs of each tenant are hash-chained (`nomos.audit.chain`), and their ends are rows of their
own, so a missing row is detected. Columns must match the hashed text, and audit records the tables
that decide. Problems are returned as text. Signatures are not checked here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.chain import GENESIS, Head
from nomos.server.storage import records, tables
from nomos.server.storage.anchor import AnchorMark
from nomos.server.storage.tables import heads

TABLES: Final[Mapping[str, sa.Table]] = {
    "audit": tables.records,
    "revocations": tables.revocations,
    "keys": tables.issuer_keys,
}
NAMES: Final = {"audit": "audit log", "revocations": "log of revocations", "keys": "log of keys"}
COLUMNS: Final = {
    "audit": records.COLUMNS,
    "revocations": ("id", "kind", "at"),
    "keys": ("did",),
}
"""Columns that repeat values from the hashed text of a row."""

ROWS_AT_ONCE: Final = 1000
MAX_NAMED: Final = 3  # the maximum number of damaged rows that a message names


@dataclass
class IntegrityReport:
    """The result of a walk through a log."""

    problem: str | None = None
    damaged: list[int] = field(default_factory=list)
    """Audit rows that cannot be read, or do not match their hash, but whose place is intact."""


def broken_pages(connection: Connection) -> str | None:
    """Return what SQLite finds wrong with its file."""
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    return None if found == "ok" else f"nomos.db is damaged ({str(found)[:120]})"


def missing_rows(connection: Connection) -> str | None:
    """Return which log lacks rows that its stored end says it has."""
    ends = {(row.tenant, row.log): Head(row.seq, row.hash) for row in connection.execute(_ends)}
    for log, table in TABLES.items():
        counted = sa.select(table.c.tenant, sa.func.count(), sa.func.max(table.c.seq))
        counts = {
            tenant: (count, last)
            for tenant, count, last in connection.execute(counted.group_by(table.c.tenant))
        }
        named = {tenant for tenant, of in ends if of == log}
        for tenant in sorted(named | counts.keys()):
            end = ends.get((tenant, log), Head())
            problem = _missing(connection, log, tenant, end, counts.get(tenant, (0, 0)))
            if problem is not None:
                return problem
    return None


_ends: Final = sa.select(heads.c.tenant, heads.c.log, heads.c.seq, heads.c.hash)


def _missing(
    connection: Connection, log: str, tenant: str, end: Head, counted: tuple[int, int]
) -> str | None:
    count, last = counted
    name, table = f"the {NAMES[log]} of tenant {tenant}", TABLES[log]
    if last != end.seq:
        return f"{name} ends with row {last}, but row {end.seq} was its last one"
    if count != end.seq:
        gap = _first_gap(connection, table, tenant)
        return f"row {gap} of {name} is missing"
    if (_hash(connection, table, tenant, end.seq) or GENESIS) != end.hash:
        return f"row {end.seq} of {name} differs from the one that was stored"
    return None


def _hash(connection: Connection, table: sa.Table, tenant: str, seq: int) -> str | None:
    of_row = (table.c.tenant == tenant, table.c.seq == seq)
    return connection.scalar(sa.select(table.c.hash).where(*of_row))


def _first_gap(connection: Connection, table: sa.Table, tenant: str) -> int:
    numbers = sa.select(table.c.seq).where(table.c.tenant == tenant).order_by(table.c.seq)
    expected = 1
    for seq in connection.scalars(numbers):
        if seq != expected:
            break
        expected += 1
    return expected


def behind(connection: Connection, mark: AnchorMark) -> str | None:
    """Return which log lacks the row that the anchor names as its end, or has it changed."""
    for tenant, log, head in mark.heads:
        table = TABLES.get(log)
        if table is None or head.seq == 0:
            continue
        found = _hash(connection, table, tenant, head.seq)
        if found != head.hash:
            what = "is missing" if found is None else "differs from the one that was stored"
            return f"row {head.seq} of the {NAMES[log]} of tenant {tenant} {what} (nomos.anchor)"
    return None


def walk(
    connection: Connection, log: str, tenant: str, after: int = 0, until: int | None = None
) -> IntegrityReport:
    """Check the rows after number `after`: each matches its hash and follows the row before."""
    table, found = TABLES[log], IntegrityReport()
    previous = Head(after, _hash(connection, table, tenant, after) or GENESIS)
    for row in _rows(connection, log, tenant, after, until):
        where = f"row {row['seq']} of the {NAMES[log]} of tenant {tenant}"
        content = _content(row)
        if content is None and log != "audit":
            found.problem = f"{where} is damaged"
        elif content is None:
            found.damaged.append(row["seq"])
        elif (content.get("seq"), content.get("prev_hash")) != (previous.seq + 1, previous.hash):
            found.problem = f"{where} does not follow the row before it"
        elif content.get("tenant") != tenant or any(
            content.get(name) != row[name] for name in COLUMNS[log]
        ):
            found.problem = f"{where} has columns that differ from its text"
        else:
            found.problem = contradicted(connection, where, tenant, content)
        if found.problem is not None:
            return found
        previous = Head(row["seq"], row["hash"])
    return found


def _rows(
    connection: Connection, log: str, tenant: str, after: int, until: int | None
) -> Iterator[Mapping[str, Any]]:
    """Rows in order. Texts are read as bytes: one that is not UTF-8 must not end the reading."""
    table = TABLES[log]
    wanted = (
        sa.select(
            table.c.seq,
            table.c.hash,
            sa.cast(table.c.text, sa.LargeBinary).label("raw"),
            *(table.c[name] for name in COLUMNS[log]),
        )
        .where(table.c.tenant == tenant, table.c.seq > sa.bindparam("after"))
        .order_by(table.c.seq)
        .limit(ROWS_AT_ONCE)
    )
    if until is not None:
        wanted = wanted.where(table.c.seq <= until)
    while rows := connection.execute(wanted, {"after": after}).mappings().all():
        yield from map(dict, rows)
        after = rows[-1]["seq"]


def _content(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the content of the hashed text; None if the text does not match the hash."""
    raw = row["raw"]
    if not isinstance(raw, bytes) or hashlib.sha256(raw).hexdigest() != row["hash"]:
        return None
    content = json.loads(raw)
    return content if isinstance(content, dict) else None


def contradicted(
    connection: Connection, where: str, tenant: str, content: Mapping[str, Any]
) -> str | None:
    """Return how the tables that decide contradict an audit record; None if they agree with it."""
    kind, detail = content.get("kind"), content.get("detail") or {}
    seq, revoked = detail.get("seq"), tables.revocations
    if kind == "revocation" and isinstance(seq, int):
        named = content.get("cid") or content.get("envelope") or content.get("agent")
        which = revoked.c.seq == seq
        if named is not None:
            which = sa.and_(which, revoked.c.id == named)
        if not _has(connection, revoked, which, tenant):
            return f"{where} records revocation {seq}, which the log of revocations does not have"
    did = str(detail.get("did"))
    rotated = kind == "key" and content.get("act") == "revoke" and did.startswith("did:key:")
    if rotated and not _has(connection, revoked, revoked.c.id == did, tenant):
        return f"{where} records that {did} was revoked, which the log of revocations does not have"
    return _reopened(connection, where, tenant, content)


def _reopened(
    connection: Connection, where: str, tenant: str, content: Mapping[str, Any]
) -> str | None:
    """Return which app or approval was ended by an audit record, but not in its own row."""
    apps, envelopes = tables.apps, tables.envelopes
    still: sa.ColumnElement[bool]
    match content:
        case {"kind": "app", "act": "disable", "app": str(ident)}:
            table, still = apps, apps.c.disabled_at.is_(None)
            what = f"app {ident} was disabled, but it is not"
        case {"kind": "approval", "act": "deny", "envelope": str(ident)}:
            table, still = envelopes, envelopes.c.state != "denied"
            what = f"approval {ident} was denied, but it is not"
        case {"kind": "decision", "decision": "allow", "envelope": str(ident)}:
            table, still = envelopes, envelopes.c.state != "consumed"
            what = f"approval {ident} was used, but it is open"
        case _:
            return None
    contradicts = _has(connection, table, sa.and_(table.c.id == ident, still), tenant)
    return f"{where} records that {what}" if contradicts else None


def _has(
    connection: Connection, table: sa.Table, which: sa.ColumnElement[bool], tenant: str
) -> bool:
    return bool(connection.scalar(sa.select(sa.exists().where(which, table.c.tenant == tenant))))


def restored(connection: Connection) -> str | None:
    """Return an app or key that is revoked, but not in its own row."""
    revoked, apps, keys = tables.revocations, tables.apps, tables.issuer_keys
    app = connection.scalar(
        sa.select(apps.c.id).where(
            apps.c.disabled_at.is_(None),
            sa.exists().where(revoked.c.id == apps.c.id, revoked.c.tenant == apps.c.tenant),
        )
    )
    if app is not None:
        return f"app {app} was revoked, but its row is not disabled"
    key = connection.scalar(
        sa.select(keys.c.did).where(
            keys.c.state != "revoked",
            sa.exists().where(
                revoked.c.id == keys.c.did,
                revoked.c.tenant == keys.c.tenant,
                revoked.c.kind == "issuer",
            ),
        )
    )
    return None if key is None else f"issuer key {key} was revoked, but its row is not"


def ends_of(connection: Connection, log: str) -> dict[str, Head]:
    """Return the end of a log, by tenant."""
    rows = connection.execute(_ends.where(heads.c.log == log))
    return {row.tenant: Head(row.seq, row.hash) for row in rows}


def has_tenant(connection: Connection) -> bool:
    """Return whether there is any tenant, and so an issuer."""
    return connection.scalar(sa.select(tables.tenants.c.id).limit(1)) is not None


def size(connection: Connection) -> int:
    """Return the size of the database in bytes."""
    pages, each = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0
        for name in ("page_count", "page_size")
    )
    return int(pages * each)


def checkpoint_rows(
    connection: Connection, tenant: str, most: int
) -> list[tuple[int, str, str | None]]:
    """Return the newest checkpoints of the audit log: row number, token, hash of that row."""
    made, rows = tables.checkpoints, tables.records
    joined = made.outerjoin(rows, sa.and_(rows.c.tenant == made.c.tenant, rows.c.seq == made.c.seq))
    wanted = (
        sa.select(made.c.seq, made.c.token, rows.c.hash)
        .select_from(joined)
        .where(made.c.tenant == tenant, made.c.log == "audit")
        .order_by(made.c.seq.desc())
        .limit(most)
    )
    return [(row.seq, row.token, row.hash) for row in connection.execute(wanted)]
