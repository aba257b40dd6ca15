"""The audit log for export and verification: its rows in order, and its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.chain import ChainedRow, Head, Log
from nomos.server.storage import logs, records
from nomos.server.storage.database import Database
from nomos.server.storage.records import Found
from nomos.server.storage.tables import checkpoints

AUDIT: Final[Log] = "audit"


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint that was signed over row `seq`; `at` is in seconds."""

    seq: int
    token: str
    at: int


@dataclass(frozen=True)
class LogPart:
    """Consecutive rows, and the checkpoints over them by row number."""

    links: tuple[ChainedRow, ...]
    tokens: Mapping[int, str]


def add(connection: Connection, tenant: str, log: Log, kept: StoredCheckpoint) -> bool:
    """Store a checkpoint; False if there is one over that row."""
    if between(connection, tenant, log, kept.seq - 1, kept.seq):
        return False
    connection.execute(checkpoints.insert(), {"tenant": tenant, "log": log, **vars(kept)})
    return True


def newest(connection: Connection, tenant: str, log: Log) -> StoredCheckpoint | None:
    """Return the checkpoint over the latest row that has one."""
    wanted = checkpoints.select().where(checkpoints.c.tenant == tenant, checkpoints.c.log == log)
    row = connection.execute(wanted.order_by(checkpoints.c.seq.desc()).limit(1)).first()
    return None if row is None else StoredCheckpoint(row.seq, row.token, row.at)


def between(
    connection: Connection, tenant: str, log: Log, after: int, until: int
) -> dict[int, str]:
    """Return the checkpoints over rows in a range. A damaged one is left out: others prove them."""
    rows = connection.execute(
        sa.select(checkpoints.c.seq, sa.cast(checkpoints.c.token, sa.LargeBinary)).where(
            checkpoints.c.tenant == tenant,
            checkpoints.c.log == log,
            checkpoints.c.seq > after,
            checkpoints.c.seq <= until,
        )
    )
    return {seq: token.decode() for seq, token in rows if token.isascii()}


class AuditLog:
    """A tenant's audit log, for reading it and storing its checkpoints."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self, tenant: str) -> Head:
        """Return the log's last row."""
        return await self._database.read(logs.head, tenant, AUDIT)

    async def part(self, tenant: str, after: int, until: int, limit: int) -> LogPart:
        """Return at most `limit` rows after number `after` and up to `until`. Rows never change."""

        def work(connection: Connection) -> LogPart:
            found = records.after(connection, tenant, after, min(limit, until - after))
            if not found:
                return LogPart((), {})
            return LogPart(found, between(connection, tenant, AUDIT, after, found[-1].seq))

        return await self._database.read(work)

    async def following(
        self, tenant: str, seq: int, limit: int, *, app: str | None = None
    ) -> tuple[Found, ...]:
        """Return the records after number `seq`, oldest first; optionally of one app."""
        return await self._database.read(records.following, tenant, seq, limit, app=app)

    async def family(self, tenant: str, ident: str) -> tuple[Found, ...]:
        """Return the tree of records that this record belongs to, oldest first."""
        return await self._database.read(records.family, tenant, ident)

    async def signed(self, tenant: str) -> int:
        """Return the number of the last row that has a checkpoint of its own."""
        kept = await self._database.read(newest, tenant, AUDIT)
        return 0 if kept is None else kept.seq

    async def keep(self, tenant: str, kept: StoredCheckpoint) -> None:
        """Store a checkpoint, unless its row has one."""
        await self._database.write(add, tenant, AUDIT, kept)
