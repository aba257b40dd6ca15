"""Signing of tokens: the delegation of an allow, and the invocation of an agent without a key."""

from __future__ import annotations

import secrets
from typing import Final

from nomos._protocol import Delegate, Invoke, Refused, Request, Signed
from nomos._times import iso
from nomos.audit.record import Record
from nomos.errors import InvalidRequest, SignerError
from nomos.policy.decision import PolicyDecision
from nomos.server.control.context import Context
from nomos.server.control.errors import invalid, unavailable
from nomos.server.domain import outdated_grants, token_claims
from nomos.server.domain.authorization import Evaluation, StoredAnswer
from nomos.server.domain.decision import Reply
from nomos.server.domain.request import CanonicalRequest
from nomos.server.domain.token_claims import ApprovalStamp

CALLERS_FAULT: Final = frozenset({"invalid_request", "malformed_ucan", "too_large"})
"""Codes of the binary for a payload that no token can hold: a retry does not help."""


def app_key(app: str) -> str:
    """Return the name of the key that signs for those agents of `app` that have no key."""
    return f"app-{app}"


async def delegate(
    context: Context,
    case: Evaluation,
    row: Record,
    policy_decision: PolicyDecision,
    approval: ApprovalStamp | None = None,
) -> Signed:
    """Sign the delegation for what `row` records as allowed."""
    issuer = context.issuers[row.tenant]
    payload = token_claims.delegation(
        case,
        issuer=issuer,
        audience=case.question.audience or context.pdp_did,
        receipt=row,
        nonce=secrets.token_urlsafe(16),
        policy_decision=policy_decision,
        approval=approval,
    )
    # Statements that always hold may be in the chain; they do not change its meaning.
    vacuous = case.origin.held is not None
    try:
        signed = await _sign(context, Delegate(key=issuer, payload=payload, allow_vacuous=vacuous))
    except SignerError as refused:
        if refused.code == "invalid_key":
            # A well-formed DID may still encode no point of the curve.
            raise invalid("agentDid", "names no usable Ed25519 key") from refused
        raise
    if case.question.service:
        kept = outdated_grants.stored_grant(
            case, policy_decision, signed.cid, exact=approval is not None
        )
        await context.store.service_grants.add(kept)
        if context.bundle is not case.bundle:
            # A policy activation may have listed live grants before this one was stored.
            raise unavailable("the policies changed while this was decided; ask again")
    return signed


async def complete(context: Context, question: CanonicalRequest, stored: StoredAnswer) -> Reply:
    """Add the members that are not stored: the time, and the invocation for a caller without a key.

    The receipt's id is the invocation's nonce, so signing it again gives the same token.
    """
    reply = {**stored.answer, "serverTime": iso(context.clock())}
    if question.agent is None and stored.expires_at is not None and "chain" in stored.answer:
        agent = await context.keys.did(app_key(stored.app))
        chain = stored.answer["chain"]
        payload = token_claims.invocation(
            question,
            issuer=token_claims.issuer_of(chain[0]),
            agent=agent,
            audience=stored.answer["audience"],
            chain=chain,
            expires=stored.expires_at,
            nonce=stored.receipt_id,
        )
        reply["ucan"] = (await _sign(context, Invoke(key=agent, payload=payload))).jwt
    return reply


async def _sign(context: Context, request: Request) -> Signed:
    answer = await context.signer.ask(request)
    if isinstance(answer, Signed):
        return answer
    code = answer.code if isinstance(answer, Refused) else None
    if isinstance(answer, Refused) and code in CALLERS_FAULT:
        raise InvalidRequest(f"the question cannot be signed: {answer.message}")
    raise SignerError(f"the signing binary refused to sign: {code}", code=code)
