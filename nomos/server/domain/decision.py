"""The decision by policy, and its form as a reply. Pure: no clock, no randomness, no signing."""

from __future__ import annotations

from dataclasses import replace

from nomos._times import iso
from nomos.policy.decide import decide
from nomos.policy.decision import PolicyDecision, PolicyQuestion
from nomos.resources import nearest_command
from nomos.server.domain import closed_grants
from nomos.server.domain.authorization import CanonicalRequest, Evaluation, Reply
from nomos.server.domain.prefix import decide_all


def evaluate(case: Evaluation, rate: int) -> PolicyDecision:
    """Deny what is not clearly an allow. `rate` is the app's questions in the last minute."""
    question, bundle = case.question, case.bundle
    if question.spec is None and not question.commands:
        nearest = nearest_command(bundle.catalog, question.command)
        hint = f"; the nearest is {nearest}" if nearest else ""
        message = f"{question.command} is not a registered command{hint}"
        return PolicyDecision("deny", "command_unknown", message=message)
    put = inquiry(case, rate)
    if question.commands:
        found = unambiguous(decide_all(bundle, put, question.commands))
    else:
        found = unambiguous(decide(bundle, put))
    return _closed(found, case, put) if question.service else found


def inquiry(case: Evaluation, rate: int = 0) -> PolicyQuestion:
    """Return the question in the form that policy evaluates."""
    question, origin = case.question, case.origin
    return PolicyQuestion(
        agent=case.agent,
        app=case.caller.app,
        command=question.command,
        provider=question.provider.name,
        resource=question.resource,
        args_bound=question.args is not None,
        purpose=question.purpose,
        facts=question.context or {},
        now=case.now,
        rate=rate,
        delegation_depth=origin.depth,
        root_agent=origin.root(case.agent),
        invoked_by=origin.invoked_by,
        swarm_id=origin.swarm,
    )


def _closed(found: PolicyDecision, case: Evaluation, put: PolicyQuestion) -> PolicyDecision:
    """Return a decision for a service: a deny if policy reads what the grant leaves open."""
    if found.decision == "deny":
        return found
    held = case.origin.held.pol if case.origin.held else []
    exact = found.decision == "requires_step_up"
    closure = closed_grants.closure_of(case.bundle, put, case.question, held, exact=exact)
    if closure.closed:
        return replace(found, closure=closure)
    message = closed_grants.sentence(case.question, closure)
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


def allow(question: CanonicalRequest, receipt: str, audience: str, jwt: str, expires: int) -> Reply:
    """Return the reply of an allow; it is stored, since its token needs the agent's key."""
    reply: Reply = {
        "decision": "allow",
        "receiptId": receipt,
        "expiresAt": iso(expires),
        "audience": audience,
        "chain": [jwt],
        "resource": dict(question.resource),
    }
    if question.commands:
        reply["commands"] = list(question.commands)
    return reply if question.args is None else reply | {"args": dict(question.args)}


def deny(receipt: str, policy_decision: PolicyDecision) -> Reply:
    """Return the reply of a deny, with the policies that made it."""
    return {
        "decision": "deny",
        "reason": policy_decision.reason,
        "receiptId": receipt,
        "explanation": _explanation(policy_decision),
    }


def step_up(
    receipt: str, policy_decision: PolicyDecision, envelope: str, url: str, expires: int
) -> Reply:
    """Return the reply of a step-up, with the approval request to wait for."""
    return {
        "decision": "requires_step_up",
        "reason": policy_decision.reason,
        "receiptId": receipt,
        "approvalEnvelopeId": envelope,
        "approvalUrl": url,
        "expiresAt": iso(expires),
        "explanation": _explanation(policy_decision),
    }


def _explanation(policy_decision: PolicyDecision) -> Reply:
    explanation: Reply = {"policies": list(policy_decision.policies)}
    if policy_decision.message is not None:
        explanation["message"] = policy_decision.message
    if policy_decision.fields:
        explanation["fields"] = list(policy_decision.fields)
    if policy_decision.open:
        explanation["open"] = [
            {"policy": each.policy, "field": each.field} for each in policy_decision.open
        ]
    return explanation
