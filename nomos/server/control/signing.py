"""Signing of tokens: the delegation of an allow, and the invocation of an agent without a key.

The statements of a question are checked here, too: the signing binary does both.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from nomos._pol.checks import limited
from nomos._protocol import CheckPolicy, Delegate, Invoke, PolicyChecked, Refused, Request, Signed
from nomos._times import iso
from nomos.audit.record import Record
from nomos.errors import ConfigurationError, InvalidRequest, SignerError
from nomos.policy.decision import PolicyDecision
from nomos.server.control.context import Context
from nomos.server.control.errors import invalid, unavailable
from nomos.server.domain import outdated_grants, token_claims
from nomos.server.domain.authorization import CanonicalRequest, Evaluation, Reply, StoredAnswer
from nomos.server.domain.token_claims import ApprovalStamp

POLICY_FAULTS: Final = frozenset({"malformed_ucan", "vacuous_policy"})
"""Codes of the binary for statements that no token can have."""

CALLERS_FAULT: Final = frozenset({"invalid_request", "malformed_ucan", "too_large"})
"""Codes of the binary for a payload that no token can hold: a retry does not help."""


def app_key(app: str) -> str:
    """Return the name of the key that signs for those agents of `app` that have no key."""
    return f"app-{app}"


async def checked_policy(context: Context, pol: list[Any] | None) -> tuple[Any, ...]:
    """Return the statements as they are signed; without any, the binary is not asked.

    Each must require that its field is present. Raises InvalidRequest for statements that cannot be
    signed or are too large, and SignerError if the binary cannot answer.
    """
    if not pol:
        return ()
    try:
        statements = limited(pol)
    except ConfigurationError as wrong:
        raise _invalid_policy(str(wrong)) from None
    answer = await context.signer.ask(CheckPolicy(pol=statements))
    if isinstance(answer, PolicyChecked):
        return tuple(answer.pol)
    if isinstance(answer, Refused) and answer.code in POLICY_FAULTS:
        raise _invalid_policy(answer.message)
    code = answer.code if isinstance(answer, Refused) else None
    raise SignerError(f"the signing binary did not check the statements: {code}", code=code)


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


def _invalid_policy(sentence: str) -> InvalidRequest:
    """Return the error; the sentence may contain the caller's text, and is made ASCII."""
    return InvalidRequest(ascii(sentence)[1:-1], fields=("pol",))
