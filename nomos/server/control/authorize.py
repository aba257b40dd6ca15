"""`authorize`: one question, its decision, its receipt, and for an allow one delegation.

The order: make the question canonical, verify its chain if it has one, decide, sign, store the
receipt and the answer for repetitions, and reply once both are on the disk. A failure at any step
leaves no receipt and no token behind, and never becomes an allow.

A question with an idempotency key is decided once. Its repetition gets the stored answer. If that
was an allow which has since expired or been revoked, the repetition gets a deny that says so; it is
not decided again, because its caller regards it as the first.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from nomos.errors import ConfigurationError, InvalidRequest, SignerError
from nomos.models import DenyReason
from nomos.policy.decision import PolicyDecision
from nomos.server.control import delegation_lookup, messages, request
from nomos.server.control.body import sorted_json
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, unavailable
from nomos.server.control.invocation_auth import AgentPrincipal
from nomos.server.control.messages import AuthorizeRequest
from nomos.server.control.signing import app_key, checked_policy, complete, delegate
from nomos.server.control.stepup import step_up
from nomos.server.domain import decision, token_claims
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.authorization import Evaluation, Reply, StoredAnswer
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.records import new_receipt_id

log = logging.getLogger("nomos.server")


async def authorize(
    context: Context, caller: ApiKey, body: Mapping[str, Any], *, key: str | None, request_id: str
) -> Reply:
    """Answer one question. Raises InvalidRequest, or Refusal if it cannot be answered."""
    message = messages.authorize_request(body)
    identity = sorted_json(delegation_lookup.signed(caller, body))
    context.take_quota(caller.app, len(identity))
    digest = hashlib.sha256(identity).hexdigest()
    try:
        services = await _services(context, caller, message)
        question = request.canonicalize(
            message,
            context.catalog,
            context.pdp_did,
            context.bundle.hash,
            services,
            holder=caller.agent if isinstance(caller, AgentPrincipal) else None,
            size=len(identity),
        )
        question = replace(question, pol=await checked_policy(context, message.pol))
        agent = question.agent or await context.keys.did(app_key(caller.app))
        await _check_agent(context, caller, agent)
        origin = await delegation_lookup.origin(context, caller, message, question, agent)
        async with context.idempotency_lock(caller.app, key):
            at = int(context.clock() * 1000)
            who, repeated = (question, caller, agent, origin), (request_id, key, digest)
            case = Evaluation(*who, *repeated, at, new_receipt_id(at), context.bundle)
            stored, revoked = await context.store.prior(caller.app, key, _ids(case))
            if stored is not None:
                return await _repeat(context, case, stored)
            return await _answer(context, case, revoked)
    except (SignerError, StorageUnavailable, ConfigurationError) as failure:
        log.exception("request %s: nothing was decided", request_id)
        raise unavailable("the server cannot decide at the moment; ask again") from failure


async def _check_agent(context: Context, caller: ApiKey, agent: str) -> None:
    """Raise ControlError if the agent belongs to another app. Nothing is decided or recorded then.

    An agent belongs to the app that first asked for it. An agent that signed the question itself
    may ask for any app that its chain began with.
    """
    known = await context.store.apps.agent_app(caller.tenant, agent)
    if known is None:
        if agent == context.pdp_did or agent in context.key_log.trusted:
            message = "agentDid: is a key of this server, not of an agent"
            raise InvalidRequest(message, fields=("agentDid",))
        known = await context.store.apps.claim_agent(caller.tenant, agent, caller.app)
    if known != caller.app and not isinstance(caller, AgentPrincipal):
        message = (
            "agentDid: another app asked for this agent before, and an agent belongs to one app. "
            "Give this app's agent a key of its own (agent_key_file or NOMOS_AGENT_KEY_FILE)"
        )
        raise ControlError("forbidden", message, fields=("agentDid",))


async def _services(
    context: Context, caller: ApiKey, message: AuthorizeRequest
) -> Mapping[str, bool]:
    """Return the other services and whether each decides; looked up for another audience only."""
    if message.audience in (None, context.pdp_did):
        return {}
    return await context.store.services.dids(caller.tenant)


async def _answer(context: Context, case: Evaluation, revoked: Collection[str]) -> Reply:
    """Decide, sign, record, then reply."""
    policy_decision = _decide(context, case, revoked)
    if policy_decision.decision == "requires_step_up":
        answered = await step_up(context, case, policy_decision)
    else:
        answered = await _settle(context, case, policy_decision)
    if isinstance(answered, StoredAnswer):
        return await _repeat(context, case, answered)
    return answered


def _ids(case: Evaluation) -> dict[str, str]:
    """Return what must not be revoked besides the chain, with the words for each in a message."""
    ids = {case.agent: "the agent's key", case.caller.app: "this app"}
    if case.question.cosigner is not None:
        ids[case.question.cosigner] = "this approval"
    return ids


def _decide(context: Context, case: Evaluation, revoked: Collection[str]) -> PolicyDecision:
    fault = case.origin.fault
    if fault is not None:
        return PolicyDecision("deny", fault.reason, message=fault.message)
    rate = context.rates.count(case.caller.app, case.now)
    if revoked:
        what = " and ".join(name for ident, name in _ids(case).items() if ident in revoked)
        return PolicyDecision("deny", "revoked", message=f"{what} was revoked")
    return decision.evaluate(case, rate)


async def _settle(
    context: Context, case: Evaluation, policy_decision: PolicyDecision
) -> Reply | StoredAnswer:
    """Return the decision by policy alone, or the answer stored in the meantime."""
    row = case.record(policy_decision)
    if policy_decision.decision == "allow":
        signed = await delegate(context, case, row, policy_decision)
        row = replace(row, cid=signed.cid, expires_at=case.expires)
        audience = case.question.audience or context.pdp_did
        answer = decision.allow(case.question, row.id, audience, signed.jwt, case.expires)
    else:
        answer = decision.deny(row.id, policy_decision)
    stored = case.stored(row, answer)
    reply = await complete(context, case.question, stored)
    earlier = await context.store.record_answer(row, stored)
    return reply if earlier is None else earlier


async def _repeat(context: Context, case: Evaluation, stored: StoredAnswer) -> Reply:
    """Return the stored answer, unless it was an allow that no longer holds."""
    if stored.request_hash != case.request_hash:
        message = "this Idempotency-Key was used for another question; use a new key for this one"
        raise ControlError("idempotency_conflict", message, fields=("Idempotency-Key",))
    over = await _over(context, case, stored)
    if over is not None:
        message = f"the grant of this Idempotency-Key is {over}; use a new key to ask again"
        answer = decision.deny(stored.receipt_id, PolicyDecision("deny", over, message=message))
        stored = replace(stored, answer=answer)
    return await complete(context, case.question, stored)


async def _over(context: Context, case: Evaluation, stored: StoredAnswer) -> DenyReason | None:
    """Return why a stored allow no longer holds; None if it does."""
    if stored.cid is None or stored.expires_at is None:
        return None
    if stored.expires_at <= context.clock():
        return "expired"
    if case.origin.fault is not None:
        return case.origin.fault.reason
    issuer = token_claims.issuer_of(stored.answer["chain"][0])
    ids = [stored.cid, stored.agent, stored.app, issuer, *case.origin.ids]
    if case.question.cosigner is not None:
        ids.append(case.question.cosigner)
    return "revoked" if await context.store.revoked(ids) else None
