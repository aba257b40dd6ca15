"""Decisions about a command prefix: it is allowed if each of its commands is. Pure.

A grant of `/github/issue` is one of every registered command under it. It is given only if policy
allows each of them without a step-up: the holder signs each call itself, and no decision follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from nomos.policy.bundle import Bundle
from nomos.policy.decide import decide
from nomos.policy.decision import PolicyDecision, PolicyQuestion

MAX_NAMED: Final = 6
"""The maximum number of commands that are not allowed, in a message."""


def decide_all(bundle: Bundle, inquiry: PolicyQuestion, commands: Sequence[str]) -> PolicyDecision:
    """Allow all of `commands`, or deny and name those that are not allowed."""
    verdicts = {name: decide(bundle, replace(inquiry, command=name)) for name in commands}
    against = {name: each for name, each in verdicts.items() if not _allows(each)}
    if commands and not against:
        policies = {policy for each in verdicts.values() for policy in each.policies}
        return PolicyDecision("allow", policies=tuple(sorted(policies)))
    failed = any(each.reason == "policy_error" for each in against.values())
    return PolicyDecision(
        "deny",
        "policy_error" if failed else "policy_denied",
        tuple(sorted({policy for each in against.values() for policy in each.policies})),
        message=_message(inquiry.command, against),
    )


def _allows(verdict: PolicyDecision) -> bool:
    return verdict.decision == "allow" and verdict.reason is None


def _message(prefix: str, against: dict[str, PolicyDecision]) -> str:
    shown = [f"{name} ({_why(each)})" for name, each in sorted(against.items())[:MAX_NAMED]]
    more = f"; and {len(against) - MAX_NAMED} more" if len(against) > MAX_NAMED else ""
    return (
        f"{prefix} stands for several commands, and not all of them are allowed: "
        f"{'; '.join(shown)}{more}. Ask for those that are needed one by one"
    )


def _why(verdict: PolicyDecision) -> str:
    if verdict.decision == "requires_step_up":
        return f"needs the approval of {', '.join(verdict.roles)}"
    return verdict.message or verdict.reason or "denied"
