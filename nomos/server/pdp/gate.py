"""`Gate`: the steps of one call, from request to reply, in their required order.

1.  A token is present, and its claims can be read. Nothing else of the request is read before,
    since the commands and providers are visible to holders of a token only. The claims are not
    verified; they say what to look up among revocations.
2.  The request is parsed: the command is registered and served, and its parameters are those it
    declares. An error of this step is reported only once the token is verified.
3.  The binary verifies the token, in one request, against revocations read now and the call
    just parsed. A request that could not be parsed is verified against no call, so that an
    invalid token gets the same answer with any request. Where parameters come in a body, the
    token is verified against no call once before the PDP reads the body, and its revocations
    are looked up again afterwards. Links of its chain that are new are recorded then, since
    the following steps act on their authority.
4.  Policy decides on the concrete call. A step-up is satisfied by the approval of the token, if
    it has one; a deny is final.
5.  The call is prepared: settings and values are checked before anything happens.
6.  For a call that changes something, a receipt of the intent is stored. Then its token is used
    up, as the last step before acting. Then the call is performed, and its outcome is stored.
    A read is performed, and its reply is sent only once its receipt is stored. An approval works
    once, so a read with an approval uses it up, too. An unexpected failure is recorded as an
    outcome like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Any

from nomos._core import verification
from nomos._core.verification import ClaimNonce, Rejection, Reused, VerifiedClaims
from nomos._protocol import Call, Verified
from nomos._times import iso_seconds
from nomos.policy.decide import decide
from nomos.policy.decision import PolicyDecision, PolicyQuestion
from nomos.server.domain import lineage
from nomos.server.domain.lineage import Lineage
from nomos.server.http.limits import SlidingWindowCounter
from nomos.server.http.quotas import BYTES_A_SECOND, QuotaExceeded
from nomos.server.pdp import tokens
from nomos.server.pdp.approval import TokenApproval
from nomos.server.pdp.context import Action, PdpContext
from nomos.server.pdp.filesystem import Filesystem
from nomos.server.pdp.receipts import OK, PdpCall, ReceiptWriter, size_on_record
from nomos.server.pdp.rejected_tokens import RejectedTokens
from nomos.server.pdp.request import IN_QUERY, Rebuilt
from nomos.server.pdp.request_parsing import PdpRequest, RequestParser
from nomos.server.pdp.statuses import PdpError, denied, unavailable
from nomos.server.pdp.tokens import ChainHolder, PresentedToken
from nomos.server.pdp.upstream import HttpProvider
from nomos.server.pdp.upstream_limiter import UpstreamLimiter
from nomos.server.storage.failures import Forgotten
from nomos.server.storage.shares import ShareExceeded

log = logging.getLogger(__name__)

_OUTCOME_UNKNOWN = ". The outcome is unknown: check the upstream before you retry"


class Gate:
    """The steps of every call, all within `serve`."""

    def __init__(self, context: PdpContext) -> None:
        self._context = context
        self._handlers: Mapping[str, Filesystem | HttpProvider] = {
            "filesystem": Filesystem(context.workspace, context.limits),
            "http": HttpProvider(context.upstreams, context.limits),
        }
        self._requests = RequestParser(
            context.catalog,
            context.limits,
            lambda provider, command: self._handlers[provider.handler].serves(command),
        )
        self._records = ReceiptWriter(context.store, context.clock)
        self._refused = RejectedTokens(context, self._records)
        self._calls = SlidingWindowCounter()
        self._lanes = UpstreamLimiter()

    async def serve(self, request: PdpRequest) -> dict[str, Any]:
        """Return the reply's JSON object, or raise the Refusal."""
        call, found = await self._verified(request)
        descent = lineage.lineage_of(found.proven, found.claims.chain)
        case = self._case(request, call, found.proven)
        self._take_quota(case, call, found, descent)
        case = await self._records.with_parents(found.claims.chain, descent, case)
        async with AsyncExitStack() as held:
            holder, action, case = await self._authorize(case, call, found, descent, held=held)
            if call.command.risk == "read":
                return await self._execute_read(case, action, found, holder)
            return await self._execute_write(case, action, found, holder)

    async def open(self) -> None:
        """Open the handlers; they remove what killed processes left."""
        for handler in self._handlers.values():
            await handler.open()

    async def close(self) -> None:
        """Store the counts of rejected tokens, and close the handlers."""
        await self._refused.close()
        for handler in self._handlers.values():
            await handler.close()

    # Verification

    async def _verified(self, request: PdpRequest) -> tuple[Rebuilt, VerifiedClaims]:
        """Return the call of a request, and what its token proves for it."""
        token = tokens.presented(self._context, request.authorization, request.query)
        if token.claims is None:
            # The request is not parsed: the binary says what is wrong with the token.
            await self._verify(request, token, None)
            raise tokens.no_answer()
        wanted = self._requests.match(request)
        if isinstance(wanted, PdpError):
            await self._verify(request, token, None)
            raise wanted
        if wanted[1].method not in IN_QUERY:
            await self._verify(request, token, None)
        call = await self._requests.parse(request, *wanted)
        if isinstance(call, PdpError):
            await self._verify(request, token, None)
            raise call
        return call, await self._verify(request, token, call.call)

    async def _verify(
        self, request: PdpRequest, token: PresentedToken, call: Call | None
    ) -> VerifiedClaims:
        """Return what a token proves for `call`. A rejection is recorded and raised."""
        found = await tokens.verify(self._context, token, call)
        if isinstance(found, Rejection):
            refusal = tokens.refusal(found)
            await self._refused.record(request, found, call, refusal)
            raise refusal
        return found

    def _take_quota(
        self, case: PdpCall, call: Rebuilt, found: VerifiedClaims, descent: Lineage
    ) -> None:
        """Raise PdpError, and keep no record, if the app's calls fill the audit log too fast."""
        receipts = 1 if call.command.risk == "read" else 2
        size = size_on_record(case, found.claims.chain, receipts=receipts)
        app = f"{case.tenant}/{descent.app or descent.root}"
        try:
            self._context.quotas.take(app, size, self._context.elapsed())
        except QuotaExceeded as quota:
            raise PdpError(
                "rate_limited",
                "this app has exceeded its quota of receipts in the audit log: "
                f"{BYTES_A_SECOND // 1024} KiB a second are sustainable. The call was not made",
                headers=quota.headers,
            ) from None

    # Decision

    async def _authorize(
        self,
        case: PdpCall,
        call: Rebuilt,
        found: VerifiedClaims,
        descent: Lineage,
        *,
        held: AsyncExitStack,
    ) -> tuple[ChainHolder, Action, PdpCall]:
        """Return the allowed call, ready to be performed, and the content of its receipts.

        `held` holds its place at the upstream until the call has ended.
        """
        try:
            holder = tokens.holder_of(self._context, found, descent)
            case = replace(
                case,
                purpose=holder.purpose,
                envelope=holder.approval.envelope if holder.approval is not None else None,
            )
            verdict = decide(self._context.bundle, self._inquiry(call, holder))
            case = replace(case, policies=verdict.policies)
            _check(verdict, holder.approval)
            if call.provider.handler == "http":
                place = self._lanes.admit(call.provider.name, descent.app or "", descent.agent)
                await held.enter_async_context(place)
            with _as_refusal(case):
                return holder, await self._handlers[call.provider.handler].prepare(call), case
        except PdpError as refusal:
            await self._records.write_best_effort(case.failed(self._context.clock(), refusal))
            raise

    def _inquiry(self, call: Rebuilt, holder: ChainHolder) -> PolicyQuestion:
        now = self._context.clock()
        args = call.call.args
        descent, app = holder.descent, holder.descent.app or ""
        return PolicyQuestion(
            agent=descent.agent,
            app=app,
            command=call.command.name,
            provider=call.provider.name,
            resource=call.call.resource,
            args_bound=holder.pinned is None or holder.pinned.issuperset(args),
            now=int(now),
            purpose=holder.purpose,
            facts=holder.facts,
            rate=self._calls.count(f"{holder.tenant}/{app}", now),
            delegation_depth=descent.depth,
            root_agent=descent.root,
            invoked_by=descent.invoked_by,
            swarm_id=descent.swarm,
        )

    # Performing

    async def _execute_read(
        self, case: PdpCall, action: Action, found: VerifiedClaims, holder: ChainHolder
    ) -> dict[str, Any]:
        try:
            if holder.approval is not None:
                await self._claim(found, holder)
            with _as_refusal(case):
                reply = await action()
        except PdpError as refusal:
            await self._records.write(case.failed(self._context.clock(), refusal))
            raise
        await self._records.write(case.allowed(self._context.clock(), OK))
        return reply

    async def _execute_write(
        self, case: PdpCall, action: Action, found: VerifiedClaims, holder: ChainHolder
    ) -> dict[str, Any]:
        intent = case.allowed(self._context.clock(), None)
        await self._records.write(intent)
        case = replace(case, intent=intent.id)
        try:
            await self._claim(found, holder)
            with _as_refusal(case, _OUTCOME_UNKNOWN):
                reply = await action()
        except PdpError as refusal:
            await self._records.write_best_effort(case.failed(self._context.clock(), refusal))
            raise
        # The action is done: the reply must not depend on whether this receipt can be stored.
        await self._records.write_best_effort(case.allowed(self._context.clock(), OK))
        return reply

    async def _claim(self, found: VerifiedClaims, holder: ChainHolder) -> None:
        """Claim the call's approval, or else its token. Raises PdpError if it was used before.

        If the store is not available, no write is performed.
        """
        used = await self._used(verification.use_of(found, self._context.pdp_did))
        if used == "replayed":
            raise denied(
                used,
                "this token was already used, and a token is valid for one call that changes "
                "something: `grant.headers()` makes a new one",
            )
        if used is not None:
            envelope = "behind this token" if holder.approval is None else holder.approval.envelope
            raise denied(used, f"the approval {envelope} was already used; request a new one")

    async def _used(self, use: ClaimNonce) -> Reused | None:
        """Return the code if it was used before. Raises PdpError if that cannot be known."""
        try:
            return await tokens.run(self._context, verification.claim_once(use))
        except Forgotten as forgotten:
            raise unavailable(
                "it is unknown whether this token was used: it expires at "
                f"{iso_seconds(use.expires_at)}, and the used tokens that expire until "
                f"{iso_seconds(forgotten.until)} were deleted while this server's clock was ahead. "
                "The call was not made. Request a token that expires later, and have the clock "
                "checked"
            ) from None
        except ShareExceeded as used:
            raise PdpError(
                "unavailable",
                f"{used}",
                fix="wait until some have expired, and sign tokens with shorter lifetimes",
                headers={"retry-after": "60"},
            ) from None
        except Exception:
            log.exception("a nonce cannot be claimed")
            raise unavailable(
                "it is unknown whether this token was used; the call was not made"
            ) from None

    # Receipts

    def _case(self, request: PdpRequest, call: Rebuilt, proven: Verified) -> PdpCall:
        return PdpCall(
            tenant=tokens.tenant_of(self._context, proven),
            command=call.command.name,
            resource=call.call.resource,
            args=call.call.args,
            bundle=self._context.bundle.hash,
            request_id=request.request_id,
            agent=proven.agent,
            expires_at=proven.expires_at,
            cid=proven.cids[-1],
        )


def _check(verdict: PolicyDecision, approval: TokenApproval | None) -> None:
    """Raise PdpError unless policy allows; an approval counts only for the roles that it has."""
    if verdict.decision == "allow":
        return
    if verdict.decision == "requires_step_up" and approval is not None:
        missing = sorted(set(verdict.roles) - approval.roles)
        if not missing:
            return
        raise denied(
            "approval_mismatch",
            f"policy now also requires the approval of {', '.join(missing)}, which "
            f"{approval.envelope} does not have: request a new one",
        )
    raise denied(verdict.reason or "policy_error", verdict.message or "policy gave no answer")


@contextmanager
def _as_refusal(case: PdpCall, hint: str = "") -> Iterator[None]:
    """Turn any exception into a PdpError, so that it is recorded as the outcome."""
    try:
        yield
    except PdpError:
        raise
    except Exception:
        log.exception("request %s failed", case.request_id)
        raise PdpError(
            "internal", f"the PDP failed; its log has the cause under this request id{hint}"
        ) from None
