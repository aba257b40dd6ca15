"""The decision by policy, and its form as a reply. Pure: no clock, no randomness, no signing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from nomos.models import Decision, DenyReason
from nomos.policy.bundle import Bundle
from nomos.policy.decide import PolicyQuestion, Verdict, decide
from nomos.policy.grant_closure import Open
from nomos.resources import nearest_command
from nomos.server.domain import closed_grants
from nomos.server.domain.delegation import DelegationContext
from nomos.server.domain.prefix import decide_all
from nomos.server.domain.request import CanonicalRequest

Reply = dict[str, Any]


@dataclass(frozen=True)
class PolicyDecision:
    """A decision, and the policies that made it.

    `roles` must all approve a step-up, `fields` differ from what was approved. For a service,
    `closed` says that policy allows every call of the grant, `forkable` that it also does so for
    every agent that the grant is delegated to, `whole_args` that this takes arguments that are
    bound as a whole; `open` are the fields that prevent this.
    """

    decision: Decision
    reason: DenyReason | None = None
    policies: tuple[str, ...] = ()
    message: str | None = None
    roles: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    closed: bool = False
    forkable: bool = True
    whole_args: bool = False
    open: tuple[Open, ...] = ()


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
        found = from_verdict(decide_all(bundle, put, asked.commands))
    else:
        found = from_verdict(decide(bundle, put))
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
        forkable, whole_args = closure.forkable, closure.whole_args
        return replace(found, closed=True, forkable=forkable, whole_args=whole_args)
    message = closed_grants.sentence(asked, closure)
    return PolicyDecision("deny", "policy_denied", closure.policies, message, open=closure.open)


def from_verdict(verdict: Verdict) -> PolicyDecision:
    """Return the decision of a verdict; an unclear verdict is a deny."""
    policies, message = verdict.policies, verdict.message
    if verdict.decision == "allow" and verdict.reason is None:
        return PolicyDecision("allow", None, policies)
    # A step-up without roles could be approved by no operator, or by any.
    if verdict.decision == "requires_step_up" and verdict.roles:
        return PolicyDecision(
            verdict.decision, "step_up_required", policies, message, verdict.roles
        )
    return PolicyDecision("deny", verdict.reason or "policy_denied", policies, message)


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


def iso(seconds: float) -> str:
    """Return a time such as `2026-05-23T18:12:00.000Z`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
