"""Receipts of calls: the request, the agent, the decision and the outcome.

A call that only reads has one receipt, stored before the reply is sent. A call that changes
something has two: the first, without a status, is stored before the action; the second says how it
ended, and its id is that of the first and `_end`. A first without a second is a call with unknown
outcome. Both have the `request_id`, but callers choose that, and may choose it twice: it does not
say which two belong together. Secrets are removed before a receipt is stored.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from nomos._core.unverified import UnverifiedLink
from nomos.audit.record import Record
from nomos.models import DenyReason
from nomos.server.domain import lineage
from nomos.server.domain.lineage import Lineage
from nomos.server.pdp.context import StorePort
from nomos.server.pdp.request import recorded_args
from nomos.server.pdp.statuses import PdpError, unavailable
from nomos.server.storage.records import new_receipt_id

log = logging.getLogger(__name__)

OK: Final = 200
END: Final = "_end"
"""The suffix of an outcome's receipt id, after the id of the intent's receipt."""


@dataclass(frozen=True)
class PdpCall:
    """The content of every receipt of one call; `agent` and `app` only when they are proven.

    `parent` is the record of the last link of the token's chain, or of the decision that granted it
    if no agent delegated it; `root` is the first agent with that authority. `envelope` is the
    approval. `intent` is the id of the receipt of the intent, once that is stored; it is the parent
    of the outcome's.
    """

    tenant: str
    command: str
    resource: Mapping[str, Any]
    args: Mapping[str, Any] | None
    bundle: str
    request_id: str
    app: str | None = None
    agent: str | None = None
    purpose: str | None = None
    expires_at: int | None = None
    cid: str | None = None
    policies: tuple[str, ...] = ()
    parent: str | None = None
    root: str | None = None
    envelope: str | None = None
    intent: str | None = None

    def allowed(self, now: float, status: int | None) -> Record:
        """Return the receipt of an allowed call; `status` is None before it is performed."""
        return self._row(now, None, status)

    def failed(self, now: float, refusal: PdpError) -> Record:
        """Return the receipt of a call that was refused, or that was allowed and failed."""
        return self._row(now, refusal.reason, refusal.status)

    def _row(self, now: float, reason: DenyReason | None, status: int | None) -> Record:
        at = int(now * 1000)
        return Record(
            id=new_receipt_id(at) if self.intent is None else f"{self.intent}{END}",
            tenant=self.tenant,
            kind="call",
            at=at,
            app=self.app,
            agent=self.agent,
            command=self.command,
            resource=dict(self.resource),
            args=None if self.args is None else recorded_args(self.args),
            decision="allow" if reason is None else "deny",
            reason=reason,
            policies=self.policies,
            bundle=self.bundle,
            purpose=self.purpose,
            expires_at=self.expires_at,
            cid=self.cid,
            request_id=self.request_id,
            status=status,
            parent=self.parent if self.intent is None else self.intent,
            root=self.root,
            envelope=self.envelope,
        )


def size_on_record(case: PdpCall, links: Sequence[UnverifiedLink], *, receipts: int) -> int:
    """Return about how many bytes a call adds to the audit log, with the `links` it records."""
    called = json.dumps([dict(case.resource), recorded_args(case.args or {})])
    statements = json.dumps([link.payload["pol"] for link in links[1:]])
    return receipts * len(called) + len(statements)


@dataclass(frozen=True)
class ReceiptWriter:
    """Stores receipts; a failure to do so fails the call."""

    store: StorePort
    clock: Callable[[], float]

    async def write(self, row: Record) -> None:
        """Store a receipt. Raises PdpError if that fails, which stops the call or its reply."""
        try:
            await self.store.record(row)
        except Exception:
            log.exception("a receipt cannot be stored")
            raise unavailable(
                "the receipt of this call cannot be stored, so it is not answered"
            ) from None

    async def with_parents(
        self, links: Sequence[UnverifiedLink], descent: Lineage, case: PdpCall
    ) -> PdpCall:
        """Store the chain's links, and return `case` with its parent; raises as `write` does."""
        at = int(self.clock() * 1000)
        rows = lineage.delegation_records(case.tenant, descent, links, at, new_receipt_id)
        try:
            above = await self.store.delegations.note(rows)
        except Exception:
            log.exception("the links of a chain cannot be stored")
            raise unavailable(
                "the delegations of this token cannot be recorded; the call was not made"
            ) from None
        return replace(case, app=descent.app, parent=above or descent.receipt, root=descent.root)

    async def write_best_effort(self, row: Record) -> None:
        """Store a receipt of a finished call; a failure is only logged."""
        try:
            await self.store.record(row)
        except Exception:
            log.exception("the receipt of a request that was answered cannot be stored")
