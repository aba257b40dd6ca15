"""Verification of invocations by the PDP, and what policy may use of their chains.

`verify` runs `nomos._core.verification` with the PDP's own settings: one request to the binary.
Only what the binary verified is used for a decision. `refusal` makes the error for the caller.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from nomos._core import verification
from nomos._core.effects import Flow
from nomos._core.http_rules import bearer
from nomos._core.http_rules.bearer import BearerFault
from nomos._core.policy_messages import failed_statement
from nomos._core.remedies import fix_at, remedy
from nomos._core.unverified import UnverifiedToken, read
from nomos._core.verification import (
    Rejection,
    RevocationRules,
    VerifiedClaims,
)
from nomos._io.runtime import run_verification
from nomos._json import mapping
from nomos._protocol import Call, Refused, Verified, Verify
from nomos.errors import SignerError
from nomos.models import MAX_PURPOSE
from nomos.server.domain.lineage import Lineage
from nomos.server.pdp.approval import TokenApproval, approval
from nomos.server.pdp.context import PdpContext
from nomos.server.pdp.statuses import STATUS_BY_REASON, PdpError, denied, unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

_DELEGATION: Final = (
    "this is a delegation; a call needs an invocation, as in `grant.ucan` or `grant.headers()`"
)
_MISSING: Final = "send the token of a grant: `authorization: Bearer <grant.ucan>`"
_NOT_LOOKED_UP: Final = "revocations cannot be looked up now, so no token is accepted"
_NO_LONGER_TRUSTED: Final = "the root's issuer is not trusted any more"
_PINNED_ARG: Final = re.compile(r'\.args(?:\.([a-z][a-z0-9_]*)|\["([^"]+)"\])')


@dataclass(frozen=True)
class ChainHolder:
    """The holder of a verified token and its lineage, for policy and the audit log.

    `pinned` names the arguments that the issuer's own `pol` requires to have one value; None is
    all. `approval` is the approval of the call.
    """

    descent: Lineage
    tenant: str
    purpose: str | None
    facts: Mapping[str, Any]
    pinned: frozenset[str] | None
    approval: TokenApproval | None


@dataclass(frozen=True)
class PresentedToken:
    """A token as received, and its claims, not verified; None if unreadable."""

    text: str = field(repr=False)
    claims: UnverifiedToken | None


def presented(context: PdpContext, authorization: Sequence[str], query: bytes) -> PresentedToken:
    """Return the token of a request with its claims, not verified."""
    text = read_token(authorization, query, context.limits.token)
    return PresentedToken(text, read(text, context.max_chain_depth))


async def verify(
    context: PdpContext, token: PresentedToken, call: Call | None
) -> VerifiedClaims | Rejection:
    """Return what a token proves for `call` (None: unknown or unread), or why it is rejected."""
    request = _verify_request(
        context, invocation=token.text, audience=context.pdp_did, call=call, pdp=True
    )
    return await _verified(context, request, token.claims)


async def verify_chain(context: PdpContext, claims: UnverifiedToken) -> VerifiedClaims | Rejection:
    """Return what the signer of a rejected token holds by its chain."""
    payload = claims.payload
    request = _verify_request(context, chain=list(payload["prf"]), audience=payload["iss"])
    return await _verified(context, request, claims)


def refusal(rejection: Rejection) -> PdpError:
    """Return the error for a rejected token."""
    answer, view = rejection.answer, rejection.view
    reason = next((reason for reason in STATUS_BY_REASON if reason == answer.code), None)
    if reason is None:
        log.error("the signing binary rejected a verification request: %s", answer.code)
        return no_answer()
    if rejection.is_delegation:
        return denied("malformed_ucan", _DELEGATION)
    if reason == "revocations_stale" and view is not None:
        if view.failure is not None:
            log.error("revocations cannot be looked up", exc_info=view.failure)
            return denied("revocations_stale", _NOT_LOOKED_UP)
        if view.seen.error is not None:
            return denied("revocations_stale", view.seen.error)
    fix = fix_at(answer.code, answer.field)
    links = () if rejection.claims is None else rejection.claims.chain
    if reason == "expired" and answer.hop == len(links):
        fix = remedy("expired", part="call")
    # The sender can read the token's statements; values of the call are not repeated.
    message = failed_statement(answer, tell_found=False) or answer.message
    return denied(reason, message, hop=answer.hop, fix=fix)


async def run(context: PdpContext, flow: Flow[T]) -> T:
    """Run a flow of `nomos._core.verification` with the PDP's binary, store and revocations."""
    lookup, claim_nonce = context.revocations.lookup, context.store.claim_nonce
    return await run_verification(flow, context.signer.ask, lookup, claim_nonce)


def _verify_request(context: PdpContext, **what: Any) -> Verify:
    return Verify(
        now=int(context.clock()),
        max_depth=context.max_chain_depth,
        trusted_issuers=sorted(context.trusted_issuers),
        **what,
    )


async def _verified(
    context: PdpContext, request: Verify, claims: UnverifiedToken | None
) -> VerifiedClaims | Rejection:
    rules = RevocationRules(context.limits.revocations_max_age)
    try:
        found = await run(context, verification.verify(request, claims, rules))
    except SignerError:
        log.exception("the signing binary gave no answer")
        raise no_answer() from None
    if isinstance(found, VerifiedClaims) and found.proven.root not in context.trusted_issuers:
        answer = Refused(code="untrusted_issuer", message=_NO_LONGER_TRUSTED, hop=0)
        return Rejection(answer, claims)
    return found


def holder_of(context: PdpContext, found: VerifiedClaims, descent: Lineage) -> ChainHolder:
    """Return the holder of a verified token; only the issuer's claims count for authority."""
    meta = found.proven.meta or {}
    facts = mapping(meta.get("facts"))
    purpose = facts.get("purpose")
    return ChainHolder(
        descent=descent,
        tenant=tenant_of(context, found.proven),
        purpose=purpose[:MAX_PURPOSE] if isinstance(purpose, str) else None,
        facts=mapping(facts.get("agent")),
        pinned=signed_args(found.claims.root.get("pol")),
        approval=approval(meta, found.claims.chain, context.pdp_did),
    )


def tenant_of(context: PdpContext, verified: Verified) -> str:
    """Return the tenant of a verified token; its issuer may have lost its trust meanwhile."""
    tenant = context.trusted_issuers.get(verified.root)
    if tenant is None:
        raise denied("untrusted_issuer", _NO_LONGER_TRUSTED, hop=0)
    return tenant


def signed_args(pol: object) -> frozenset[str] | None:
    """Return the arguments that a `pol` requires to have one value each; None if all of them."""
    names: set[str] = set()
    for statement in pol if isinstance(pol, list) else []:
        match statement:
            case ["==", ".args", _]:
                return None
            case ["==", str(selector), _] if found := _PINNED_ARG.fullmatch(selector):
                names.add(found[1] or found[2])
    return frozenset(names)


def no_answer() -> PdpError:
    """Return the error for a token about which the binary gave no usable answer."""
    return unavailable("the token cannot be verified now; the call was not made")


def read_token(authorization: Sequence[str], query: bytes, most: int) -> str:
    """Return the one bearer token, of at most `most` characters. Raises PdpError otherwise."""
    try:
        return bearer.read_token(authorization, query, missing=_MISSING, most=most)
    except BearerFault as fault:
        if fault.code == "invalid_request":
            raise PdpError(fault.code, fault.message, headers=fault.headers) from None
        refused = denied(fault.code, fault.message)
        refused.headers.update(fault.headers)
        raise refused from None
