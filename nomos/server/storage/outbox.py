"""The outbox: webhook messages, written in the transaction of the change that they report.

A row is delivered at least once, by the process that claims it first. A claim moves `next_at`
ahead: if the process dies, the row is due again then. Settled rows are stored for a week.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos._times import iso
from nomos.server.storage.damaged_rows import listed
from nomos.server.storage.database import Database
from nomos.server.storage.identifiers import new_ident
from nomos.server.storage.steady_clock import Steady
from nomos.server.storage.tables import outbox

Event = Literal["approval.requested", "approval.decided"]

KEPT_SECONDS: Final = 7 * 24 * 3600
PRUNED_AT_ONCE: Final = 256
MAX_ERROR: Final = 500
FARTHEST_SECONDS: Final = 15 * 60
"""More than the longest lease and the longest pause between two tries."""

log = logging.getLogger("nomos.server")

_OPEN = sa.and_(outbox.c.delivered_at.is_(None), outbox.c.failed_at.is_(None))
_LATE = sa.or_(
    outbox.c.next_at <= sa.bindparam("now"),
    outbox.c.next_at > sa.bindparam("now") + FARTHEST_SECONDS,
)
"""Due now, or at a time so late that only a clock that was ahead can have set it."""

_DUE = (
    sa.select(outbox)
    .where(_OPEN, _LATE)
    .order_by(outbox.c.next_at, outbox.c.id)
    .limit(sa.bindparam("count"))
)
_CLAIM = (
    outbox.update()
    .where(
        outbox.c.id == sa.bindparam("id_"),
        outbox.c.tries == sa.bindparam("tried"),
        outbox.c.next_at == sa.bindparam("was"),
        _OPEN,
    )
    .values(next_at=sa.bindparam("until"), tries=outbox.c.tries + 1)
)


@dataclass(frozen=True)
class Message:
    """One claimed row; `body` is sent exactly as it is.

    `tries` includes this one. The body contains an agent's question, so `repr` leaves it out.
    """

    id: str
    tenant: str
    event: str
    body: str = field(repr=False)
    created_at: int
    tries: int


def add(
    connection: Connection, tenant: str, event: Event, approval: Mapping[str, Any], at: int
) -> str:
    """Put a message about an approval (its view) in the outbox; `at` is in milliseconds."""
    ident = new_ident("out", at)
    body = {
        "id": ident,
        "event": event,
        "createdAt": iso(at / 1000),
        "tenant": tenant,
        "approval": approval,
    }
    connection.execute(
        outbox.insert(),
        {
            "id": ident,
            "tenant": tenant,
            "event": event,
            "body": json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")),
            "created_at": at // 1000,
            "next_at": at // 1000,
            "tries": 0,
        },
    )
    return ident


def claim(connection: Connection, now: int, lease: int, count: int) -> tuple[Message, ...]:
    """Claim up to `count` due messages, for `lease` seconds; a damaged message is given up."""
    taken = []
    due = listed(connection, _DUE, outbox.c.id, list, {"now": now, "count": count})
    for ident in due.damaged:
        log.error("message %s of the webhook is damaged and is not delivered", ident)
        _drop(connection, ident, now)
    for row in due.found:
        match = {"id_": row.id, "tried": row.tries, "was": row.next_at, "until": now + lease}
        if connection.execute(_CLAIM, match).rowcount == 1:
            taken.append(
                Message(row.id, row.tenant, row.event, row.body, row.created_at, row.tries + 1)
            )
    return tuple(taken)


def _drop(connection: Connection, ident: str, now: int) -> None:
    """Give up the messages that `listed` names `ident`: an id that is not UTF-8 equals no text."""
    failed = {"failed_at": now, "error": "the message is damaged"}
    raw = sa.cast(outbox.c.id, sa.LargeBinary)
    for each in connection.scalars(sa.select(raw).where(_OPEN)).all():
        if bytes(each).decode(errors="backslashreplace") == ident:
            connection.execute(outbox.update().where(raw == each, _OPEN).values(**failed))


def prune(connection: Connection, now: int) -> None:
    """Delete some of the messages that were settled long ago."""
    settled = sa.func.coalesce(outbox.c.delivered_at, outbox.c.failed_at)
    old = sa.select(outbox.c.id).where(settled < now - KEPT_SECONDS).limit(PRUNED_AT_ONCE)
    connection.execute(outbox.delete().where(outbox.c.id.in_(old)))


class Outbox:
    """The outbox of one system. It takes messages only if a webhook is configured."""

    def __init__(self, database: Database, clock: Callable[[], float], steady: Steady) -> None:
        self._database = database
        self._clock = clock
        self.steady = steady
        self.wanted = False
        """Whether a webhook is configured; the system sets it when it opens."""

    def add(
        self,
        connection: Connection,
        tenant: str,
        event: Event,
        approval: Mapping[str, Any],
        at: int,
    ) -> str | None:
        """`add` in the caller's transaction if a webhook is configured; its id, or None."""
        return add(connection, tenant, event, approval, at) if self.wanted else None

    async def due(self, count: int, lease: int) -> tuple[Message, ...]:
        """Claim up to `count` messages that are due; an idle outbox costs one read."""
        now = int(self._clock())
        look = sa.select(sa.exists().where(_OPEN, _LATE))
        if not await self._database.read(Connection.scalar, look, {"now": now}):
            return ()
        return await self._database.write(claim, now, lease, count)

    async def delivered(self, ident: str) -> None:
        """Mark a message as delivered."""
        await self._settle(ident, delivered_at=int(self._clock()), error=None)

    async def failed(self, ident: str, error: str, again_at: int | None) -> None:
        """Note a failed try; the next one is at `again_at` (Unix seconds), or never if None."""
        shortened = error[:MAX_ERROR]
        if again_at is None:
            await self._settle(ident, failed_at=int(self._clock()), error=shortened)
        else:
            await self._settle(ident, next_at=again_at, error=shortened)

    async def prune(self) -> None:
        """Delete some of the messages that were settled long ago, if the clock is reliable."""
        now = self.steady.now()
        if now is not None:
            await self._database.write(prune, now)

    async def _settle(self, ident: str, **values: object) -> None:
        change = outbox.update().where(outbox.c.id == ident, _OPEN).values(**values)
        await self._database.write(lambda connection: connection.execute(change))
