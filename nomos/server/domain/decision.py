"""The decision by policy, and its form as a reply. Pure: no clock, no randomness, no signing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nomos._times import iso
from nomos.policy.bundle import Bundle
from nomos.policy.decide import decide
from nomos.policy.decision import PolicyDecision, PolicyQuestion
from nomos.resources import nearest_command
from nomos.server.domain import closed_grants
from nomos.server.domain.delegation import DelegationContext
from nomos.server.domain.prefix import decide_all
from nomos.server.domain.request import CanonicalRequest

Reply = dict[str, Any]


def evaluate(
    bundle: Bundle,
    asked: CanonicalRequest,
    origin: DelegationContext,
    *,
    app: str,
    agent: str,
    now: int,
    rate: int,
) -> PolicyDecision:
    """Decide. Everything that is not clearly an allow is a deny."""
    if asked.spec is None and not asked.commands:
        nearest = nearest_command(bundle.catalog, asked.command)
        hint = f"; the nearest is {nearest}" if nearest else ""
        message = f"{asked.command} is not a registered command{hint}"
        return PolicyDecision("deny", "command_unknown", message=message)
    put = inquiry(asked, origin, app=app, agent=agent, now=now, rate=rate)
    if asked.commands:
        found = unambiguous(decide_all(bundle, put, asked.commands))
    else:
        found = unambiguous(decide(bundle, put))
    return _closed(found, bundle, put, asked, origin) if asked.service else found


def inquiry(
    asked: CanonicalRequest,
    origin: DelegationContext,
    *,
    app: str,
    agent: str,
    now: int,
    rate: int = 0,
) -> PolicyQuestion:
    """Return the question in the form that policy evaluates."""
    return PolicyQuestion(
        agent=agent,
        app=app,
        command=asked.command,
        provider=asked.provider.name,
        resource=asked.resource,
        args_bound=asked.args is not None,
        purpose=asked.purpose,
        facts=asked.context or {},
        now=now,
        rate=rate,
        delegation_depth=origin.depth,
        root_agent=origin.root(agent),
        invoked_by=origin.invoked_by,
        swarm_id=origin.swarm,
    )


def _closed(
    found: PolicyDecision,
    bundle: Bundle,
    put: PolicyQuestion,
    asked: CanonicalRequest,
    origin: DelegationContext,
) -> PolicyDecision:
    """Return a decision for a service: a deny if policy reads what the grant leaves open."""
    if found.decision == "deny":
        return found
    held = origin.held.pol if origin.held else []
    exact = found.decision == "requires_step_up"
    closure = closed_grants.closure_of(bundle, put, asked, held, exact=exact)
    if closure.closed:
        return replace(found, closure=closure)
    message = closed_grants.sentence(asked, closure)
    return PolicyDecision("deny", "policy_denied", closure.policies, message, closure=closure)


def unambiguous(found: PolicyDecision) -> PolicyDecision:
    """Return a decision of policy unchanged if it is clear, and otherwise a deny.

    A step-up without roles could be approved by no operator, or by any.
    """
    match found:
        case PolicyDecision(decision="allow", reason=None):
            return found
        case PolicyDecision(decision="requires_step_up", roles=roles) if roles:
            return replace(found, reason="step_up_required")
    return replace(found, decision="deny", reason=found.reason or "policy_denied", roles=())


def allow(asked: CanonicalRequest, receipt: str, audience: str, jwt: str, expires: int) -> Reply:
    """Return the reply of an allow; it is stored, since its token needs the agent's key."""
    reply: Reply = {
        "decision": "allow",
        "receiptId": receipt,
        "expiresAt": iso(expires),
        "audience": audience,
        "chain": [jwt],
        "resource": dict(asked.resource),
    }
    if asked.commands:
        reply["commands"] = list(asked.commands)
    return reply if asked.args is None else reply | {"args": dict(asked.args)}


def deny(receipt: str, ruling: PolicyDecision) -> Reply:
    """Return the reply of a deny, with the policies that made it."""
    return {
        "decision": "deny",
        "reason": ruling.reason,
        "receiptId": receipt,
        "explanation": _explanation(ruling),
    }


def step_up(receipt: str, ruling: PolicyDecision, envelope: str, url: str, expires: int) -> Reply:
    """Return the reply of a step-up, with the approval request to wait for."""
    return {
        "decision": "requires_step_up",
        "reason": ruling.reason,
        "receiptId": receipt,
        "approvalEnvelopeId": envelope,
        "approvalUrl": url,
        "expiresAt": iso(expires),
        "explanation": _explanation(ruling),
    }


def _explanation(ruling: PolicyDecision) -> Reply:
    explanation: Reply = {"policies": list(ruling.policies)}
    if ruling.message is not None:
        explanation["message"] = ruling.message
    if ruling.fields:
        explanation["fields"] = list(ruling.fields)
    if ruling.open:
        explanation["open"] = [{"policy": each.policy, "field": each.field} for each in ruling.open]
    return explanation
