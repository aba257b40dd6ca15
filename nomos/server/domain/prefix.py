"""Deciding on many commands at once. Pure.

A grant of `/github/issue` is one of every registered command beneath it. It is given only if
policy allows each of them without asking anybody, for nobody is asked again later: who holds it
signs each call itself. The resource may leave fields out; policy sees it as it was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from nomos.policy.bundle import Bundle
from nomos.policy.decide import PolicyQuestion, Verdict, decide

MAX_NAMED: Final = 6
"""Commands that are named in a sentence, of those that are not allowed."""


def decide_all(bundle: Bundle, inquiry: PolicyQuestion, commands: Sequence[str]) -> Verdict:
    """Allow all of `commands`, or deny and say which of them stand in the way."""
    verdicts = {name: decide(bundle, replace(inquiry, command=name)) for name in commands}
    against = {name: each for name, each in verdicts.items() if not _allows(each)}
    if commands and not against:
        policies = {policy for each in verdicts.values() for policy in each.policies}
        return Verdict("allow", policies=tuple(sorted(policies)))
    failed = any(each.reason == "policy_error" for each in against.values())
    return Verdict(
        "deny",
        "policy_error" if failed else "policy_denied",
        tuple(sorted({policy for each in against.values() for policy in each.policies})),
        message=_message(inquiry.command, against),
    )


def _allows(verdict: Verdict) -> bool:
    return verdict.decision == "allow" and verdict.reason is None


def _message(prefix: str, against: dict[str, Verdict]) -> str:
    shown = [f"{name} ({_why(each)})" for name, each in sorted(against.items())[:MAX_NAMED]]
    more = f"; and {len(against) - MAX_NAMED} more" if len(against) > MAX_NAMED else ""
    return (
        f"{prefix} stands for several commands, and not all of them are allowed: "
        f"{'; '.join(shown)}{more}. Ask for those that are needed one by one"
    )


def _why(verdict: Verdict) -> str:
    if verdict.decision == "requires_step_up":
        return f"needs the approval of {', '.join(verdict.roles)}"
    return verdict.message or verdict.reason or "denied"
