"""Receipts: one row for each decision and each call, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.models import Decision, DenyReason
from nomos.server.storage.idents import new_ident
from nomos.server.storage.tables import receipts

Kind = Literal["decision", "call"]


@dataclass(frozen=True)
class ReceiptRow:
    """The record of one decision, or of one call at the PDP.

    `at` is in milliseconds, `expires_at` in seconds. `cid` names the delegation that was signed
    or used, `bundle` the policies that decided, `status` the HTTP status a call was answered with.
    """

    id: str
    tenant: str
    kind: Kind
    at: int
    app: str | None
    agent: str | None
    command: str
    resource: Mapping[str, Any]
    args: Mapping[str, Any] | None
    decision: Decision
    reason: DenyReason | None
    policies: tuple[str, ...]
    bundle: str
    purpose: str | None = None
    expires_at: int | None = None
    cid: str | None = None
    request_id: str | None = None
    status: int | None = None


def new_receipt_id(at: int) -> str:
    """An identifier for a receipt written at `at` (milliseconds)."""
    return new_ident("evt", at)


def add(connection: Connection, row: ReceiptRow) -> None:
    """Write one receipt."""
    connection.execute(
        receipts.insert(),
        {
            "id": row.id,
            "tenant": row.tenant,
            "kind": row.kind,
            "at": row.at,
            "app": row.app,
            "agent": row.agent,
            "command": row.command,
            "resource": dict(row.resource),
            "args": None if row.args is None else dict(row.args),
            "decision": row.decision,
            "reason": row.reason,
            "policies": list(row.policies),
            "bundle": row.bundle,
            "purpose": row.purpose,
            "expires_at": row.expires_at,
            "cid": row.cid,
            "request_id": row.request_id,
            "status": row.status,
        },
    )


def find(connection: Connection, tenant: str, ident: str) -> ReceiptRow | None:
    """The receipt of that id, if it is the tenant's."""
    wanted = receipts.select().where(receipts.c.id == ident, receipts.c.tenant == tenant)
    row = connection.execute(wanted).mappings().first()
    return None if row is None else _read(row)


def newest(connection: Connection, tenant: str, limit: int) -> tuple[ReceiptRow, ...]:
    """The tenant's latest receipts, newest first."""
    wanted = (
        receipts.select()
        .where(receipts.c.tenant == tenant)
        .order_by(receipts.c.at.desc(), receipts.c.id.desc())
        .limit(limit)
    )
    return tuple(map(_read, connection.execute(wanted).mappings()))


def decisions_since(connection: Connection, at: int) -> tuple[tuple[str, int, int], ...]:
    """How many decisions each app asked for in each second since `at`: (app, second, count).

    Identifiers sort by time, so this reads the end of the primary key and no more.
    """
    second = (receipts.c.at // 1000).label("second")
    rows = connection.execute(
        sa.select(receipts.c.app, second, sa.func.count())
        .where(receipts.c.id >= new_ident("evt", at, lambda _: 0), receipts.c.kind == "decision")
        .group_by(receipts.c.app, second)
    )
    return tuple((app, second, count) for app, second, count in rows)


def _read(row: sa.RowMapping) -> ReceiptRow:
    return ReceiptRow(**{**row, "policies": tuple(row["policies"])})
