"""Receipts of rejected tokens: the request, and its sender as far as signatures prove it.

A token with an invalid signature proves nothing, not even its sender. A token whose signatures are
all valid was sent by the key that signed it: it proves its sender and the root agent. If the chain
is valid and only this use of it is not, the sender belongs to the swarm, and its links are recorded
as for a call that is performed.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from nomos._core.unverified import UnverifiedToken
from nomos._core.verification import Rejection
from nomos._protocol import Call
from nomos.server.domain import lineage
from nomos.server.domain.lineage import Sender
from nomos.server.domain.redaction import redact_text
from nomos.server.http.limits import SlidingWindowCounter
from nomos.server.pdp import tokens
from nomos.server.pdp.receipts import PdpCall, ReceiptWriter
from nomos.server.pdp.rejection_counter import RejectionCounter, RejectionGroup
from nomos.server.pdp.request_parsing import MAX_COMMAND, PdpRequest
from nomos.server.pdp.statuses import PdpError

if TYPE_CHECKING:
    from nomos.server.pdp.context import PdpContext

log = logging.getLogger(__name__)


class RejectedTokens:
    """Records a limited number per minute, and counts the rest: anyone can send such tokens.

    Each swarm has its own limit, and tokens that prove nothing share one, so that unverified
    senders cannot hide attempts from within a swarm.
    """

    def __init__(self, context: PdpContext, records: ReceiptWriter) -> None:
        self._context = context
        self._records = records
        self._pace = SlidingWindowCounter()
        self._folded = RejectionCounter(context.store.record, context.clock)

    async def close(self) -> None:
        """Store the counts."""
        await self._folded.close()

    async def record(
        self,
        request: PdpRequest,
        rejection: Rejection,
        call: Call | None,
        refusal: PdpError,
    ) -> None:
        """Record a rejected token, claims only if readable. Never raises: the reply is decided."""
        claimed = rejection.claims if rejection.was_read else None
        claimed = claimed if isinstance(claimed, UnverifiedToken) else None
        call = None if claimed is None else call
        sender = None
        if claimed is not None:
            trusted = self._context.trusted_issuers
            sender = lineage.sender(refusal.reason, claimed.payload, claimed.chain, trusted)
        tenant = self._tenant(claimed) if sender is None else sender.tenant
        if tenant is None or refusal.reason is None:
            return
        per_minute = self._context.limits.unproven_receipts_per_minute
        group_key = tenant if sender is None else f"{tenant}/{sender.root}"
        if self._pace.count(group_key, self._context.clock()) >= per_minute:
            root, agent = (None, None) if sender is None else (sender.root, sender.agent)
            begin = self._folded.count(RejectionGroup(tenant, root, agent, refusal.reason))
            if begin is not None:
                log.warning("too many rejected tokens to record each; they are counted")
                await self._records.write_best_effort(begin)
            return
        case = PdpCall(
            tenant=tenant,
            # Redact before truncating: half a credential would not be recognised.
            command=redact_text(request.path)[:MAX_COMMAND],
            resource=call.resource if call is not None else {},
            args=call.args if call is not None else None,
            bundle=self._context.bundle.hash,
            request_id=request.request_id,
        )
        if claimed is not None and sender is not None:
            case = await self._sent_by(sender, claimed, case)
        await self._records.write_best_effort(case.failed(self._context.clock(), refusal))

    def _tenant(self, claimed: UnverifiedToken | None) -> str | None:
        """Return the tenant whose log gets the record: the one the token names, or the only one."""
        tenants = dict(self._context.trusted_issuers)
        root = claimed.payload.get("sub") if claimed is not None else None
        if isinstance(root, str) and root in tenants:
            return tenants[root]
        return next(iter(tenants.values())) if len(set(tenants.values())) == 1 else None

    async def _sent_by(self, sender: Sender, claimed: UnverifiedToken, case: PdpCall) -> PdpCall:
        """Return `case` with the sender, and with its parent if the chain is the sender's."""
        case = replace(case, agent=sender.agent, root=sender.root)
        try:
            held = await tokens.verify_chain(self._context, claimed)
            if isinstance(held, Rejection):
                raise tokens.refusal(held)
            descent = lineage.lineage_of(held.proven, claimed.chain)
            case = await self._records.with_parents(claimed.chain, descent, case)
        except PdpError as refusal:
            log.debug("the links of a rejected token are not recorded: %s", refusal.message)
            return case
        return replace(case, cid=held.proven.cids[-1])
