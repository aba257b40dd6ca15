"""The decision itself and how it is told. Pure: no clock, no randomness, nothing is signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nomos.models import DenyReason
from nomos.policy.bundle import Bundle
from nomos.policy.decide import Inquiry, Verdict, decide
from nomos.resources import nearest_command
from nomos.server.control.question import Asked

Reply = dict[str, Any]


@dataclass(frozen=True)
class Ruling:
    """What was decided: an allow when there is no `reason` against it."""

    reason: DenyReason | None
    policies: tuple[str, ...] = ()
    message: str | None = None


def rule(bundle: Bundle, asked: Asked, *, app: str, agent: str, now: int, rate: int) -> Ruling:
    """Decide; everything that is not plainly an allow is a deny."""
    if asked.spec is None:
        nearest = nearest_command(bundle.catalog, asked.command)
        hint = f"; the nearest is {nearest}" if nearest else ""
        message = f"{asked.command} is not a registered command{hint}"
        return Ruling("command_unknown", message=message)
    inquiry = Inquiry(
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
    )
    return ruling(decide(bundle, inquiry))


def ruling(verdict: Verdict) -> Ruling:
    """What policy's verdict comes to on a server that has no approvals."""
    if verdict.decision == "allow" and verdict.reason is None:
        return Ruling(None, verdict.policies)
    if verdict.decision == "requires_step_up":
        return Ruling("step_up_required", verdict.policies, _step_up(verdict))
    return Ruling(verdict.reason or "policy_denied", verdict.policies, verdict.message)


def _step_up(verdict: Verdict) -> str:
    who = f"a person ({', '.join(verdict.roles)})" if verdict.roles else "a person"
    why = f" {verdict.message}" if verdict.message else ""
    return f"{who} would have to approve this, and approvals are not available here.{why}"


def allow(asked: Asked, receipt: str, audience: str, jwt: str, expires: int) -> Reply:
    """The answer that is kept: no token in it is of use without the agent's key."""
    reply: Reply = {
        "decision": "allow",
        "receiptId": receipt,
        "expiresAt": iso(expires),
        "audience": audience,
        "chain": [jwt],
        "resource": dict(asked.resource),
    }
    return reply if asked.args is None else reply | {"args": dict(asked.args)}


def deny(receipt: str, reason: DenyReason, policies: Sequence[str], message: str | None) -> Reply:
    """The answer no, with which policies said it."""
    explanation: Reply = {"policies": list(policies)}
    if message is not None:
        explanation["message"] = message
    return {
        "decision": "deny",
        "reason": reason,
        "receiptId": receipt,
        "explanation": explanation,
    }


def iso(seconds: float) -> str:
    """`2026-05-23T18:12:00.000Z`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
