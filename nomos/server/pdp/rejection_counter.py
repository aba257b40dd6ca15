"""Counts rejected tokens that are too many to be recorded one by one, and records the counts.

A record says where the counting begins (`fold_begin`), and others how many there were since, for
each agent and reason (`fold`). Counts are stored soon at first, then less often while more arrive,
and when the PDP closes. A count that cannot be stored is kept and stored with the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from nomos.audit.counted_refusals import BEGIN, FOLD
from nomos.audit.record import Record
from nomos.models import DenyReason
from nomos.server.storage.database import StorageClosed
from nomos.server.storage.records import new_receipt_id

FIRST_SECONDS: Final = 1.0
LAST_SECONDS: Final = 60.0
MOST_GROUPS: Final = 64
"""The number of agents and reasons counted apart; further agents are counted together."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RejectionGroup:
    """What is counted together; `agent` and `root` only as far as they are proven."""

    tenant: str
    root: str | None
    agent: str | None
    reason: DenyReason


@dataclass
class _Count:
    since: int
    until: int
    number: int


class RejectionCounter:
    """Counts, and stores the counts by `keep`, whose exceptions are those of the store."""

    def __init__(
        self, keep: Callable[[Record], Awaitable[None]], clock: Callable[[], float]
    ) -> None:
        self._keep = keep
        self._clock = clock
        self._counts: dict[RejectionGroup, _Count] = {}
        self._storing: asyncio.Task[None] | None = None
        self._begun: set[str] = set()
        self._busy = self._closing = False

    def count(self, group: RejectionGroup) -> Record | None:
        """Count one; return the record that counting begins if it is the first of its tenant."""
        if group not in self._counts and len(self._counts) >= MOST_GROUPS:
            group = RejectionGroup(group.tenant, None, None, group.reason)
        self._add(group, _Count(now := self._now(), now, 1))
        if self._storing is None:
            self._begun.clear()
            self._storing = asyncio.create_task(self._store_for_a_while())
        if group.tenant in self._begun:
            return None
        self._begun.add(group.tenant)
        return self._record(RejectionGroup(group.tenant, None, None, group.reason), BEGIN, {})

    async def flush(self) -> None:
        """Store the counts."""
        counts, self._counts = self._counts, {}
        self._busy = True
        try:
            while counts:
                group, count = next(iter(counts.items()))
                detail = {"count": count.number, "since": count.since, "until": count.until}
                await self._keep(self._record(group, FOLD, detail))
                del counts[group]
        finally:
            self._busy = False
            for group, count in counts.items():
                self._add(group, count)

    async def close(self) -> None:
        """Store the counts and stop. Idempotent."""
        storing, self._storing = self._storing, None
        self._closing = True
        if storing is not None:
            if not self._busy:  # a count that is being stored must not be counted twice
                storing.cancel()
            await asyncio.wait([storing])
        try:
            await self.flush()
        except Exception:
            log.exception("%d counts of rejected tokens are lost", len(self._counts))

    def _add(self, group: RejectionGroup, more: _Count) -> None:
        known = self._counts.setdefault(group, _Count(more.since, more.until, 0))
        known.number += more.number
        known.since, known.until = min(known.since, more.since), max(known.until, more.until)

    async def _store_for_a_while(self) -> None:
        """Store repeatedly until there are no more counts."""
        seconds = FIRST_SECONDS
        while self._counts and not self._closing:
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, LAST_SECONDS)
            try:
                await self.flush()
            except StorageClosed:
                break
            except Exception:
                log.exception("counts of rejected tokens cannot be stored; this is retried")
        self._storing = None

    def _record(self, group: RejectionGroup, act: str, detail: dict[str, Any]) -> Record:
        at = self._now()
        return Record(
            id=new_receipt_id(at),
            tenant=group.tenant,
            kind="call",
            at=at,
            agent=group.agent,
            decision="deny",
            reason=group.reason if act == FOLD else None,
            act=act,
            root=group.root,
            detail=detail,
        )

    def _now(self) -> int:
        return int(self._clock() * 1000)
