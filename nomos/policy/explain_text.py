"""Explanations as text, and as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nomos.policy.bundle import Policy
from nomos.policy.conditions import Condition
from nomos.policy.decision import PolicyDecision
from nomos.policy.explain import PolicyExplanation, PolicyTrace, Suggestion


def place(policy: Policy) -> str:
    """Return where a policy is written."""
    return f"{policy.file}:{policy.line}"


def sentence(change: Suggestion) -> str:
    """Return a suggested change in one line."""
    names = _names([part.policy for part in change.parts])
    several = len(change.parts) > 1
    s = "s" if several else ""
    if change.kind == "lift" and not any(part.conditions for part in change.parts):
        return f"forbid{s} {names}, if {'they' if several else 'it'} were removed"
    sentences = {
        "approve": f"the approval of: {', '.join(change.roles)}",
        "meet": f"permit {names}, if this held",
        "lift": f"forbid{s} {names}, if {'of each ' if several else ''}one of these did not hold",
        "add": "a new permit, such as",
        "mend": f"{names}, if {'they' if several else 'it'} could be evaluated",
        "forbid": f"forbid {names}, if this held",
        "withdraw": f"permit{s} {names}, if {'none applied' if several else 'it did not apply'}",
        "command": f"the command {change.text}, if that is what is meant",
    }
    return sentences[change.kind]


def outcome(verdict: PolicyDecision) -> str:
    """Return a decision in a few words."""
    by = f" by {', '.join(verdict.policies)}" if verdict.policies else ""
    match verdict.decision:
        case "allow":
            return f"allowed{by}"
        case "requires_step_up":
            return f"asks a person ({', '.join(verdict.roles)})"
        case _:
            return f"denied{by}" if verdict.reason == "policy_denied" else f"{verdict.reason}{by}"


def differently(question: Mapping[str, Any]) -> str:
    """Return how another question differs from this one: `resource.owner = "acme"`."""
    return ", ".join(
        f"{path} = {json.dumps(value, ensure_ascii=False)}" for path, value in question.items()
    )


def as_json(explanation: PolicyExplanation) -> dict[str, Any]:
    """Return the whole explanation as JSON."""
    verdict = explanation.verdict
    return {
        **_verdict(verdict),
        "message": verdict.message,
        "determined": [
            {**_policy(each), "text": each.text, "stepUp": each.step_up, "why": each.reason}
            for each in explanation.determined
        ],
        "policies": [_look(each) for each in explanation.looks],
        "changes": [_change(each) for each in explanation.changes],
    }


def _names(policies: Sequence[Policy]) -> str:
    return " and ".join(each.name for each in policies)


def _verdict(verdict: PolicyDecision) -> dict[str, Any]:
    return {
        "decision": verdict.decision,
        "reason": verdict.reason,
        "decidedBy": list(verdict.policies),
        "roles": list(verdict.roles),
    }


def _policy(policy: Policy) -> dict[str, Any]:
    return {
        "name": policy.name,
        "effect": policy.effect,
        "file": policy.file,
        "line": policy.line,
    }


def _look(look: PolicyTrace) -> dict[str, Any]:
    return {
        **_policy(look.policy),
        "state": look.state,
        "concerns": look.concerns,
        "conditions": [_condition(each) for each in look.conditions],
    }


def _condition(condition: Condition) -> dict[str, str]:
    return {"text": condition.text, "state": condition.state}


def _change(change: Suggestion) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": change.kind,
        "policies": [
            {**_policy(part.policy), "conditions": [_condition(each) for each in part.conditions]}
            for part in change.parts
        ],
        "lifted": [each.name for each in change.lifted],
        "roles": list(change.roles),
        "text": change.text,
    }
    if change.then is not None:
        found["then"] = _verdict(change.then)
    if change.answered is not None:
        found["question"] = {"with": dict(change.question), **_verdict(change.answered)}
    return found
