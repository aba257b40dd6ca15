"""`nomos policy explain`: which policies determine a decision, and what would change it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from nomos.cli.console import print_json, stdout
from nomos.cli.errors import server_extra
from nomos.cli.listing import new_table
from nomos.errors import ConfigurationError

with server_extra("policy"):
    from nomos.cli.policy.local import effect, load, where
    from nomos.policy import explain_text, grant_closure
    from nomos.policy.bundle import Bundle
    from nomos.policy.decision import Closure, PolicyDecision, PolicyQuestion
    from nomos.policy.explain import PolicyExplanation, PolicyTrace, Suggestion
    from nomos.policy.explain import explain as explained
    from nomos.policy.grant_closure import PATH, GrantedCalls
    from nomos.policy.policy_request import PolicyRequest, parse
    from nomos.resources import provider_name

_STYLES = {"allow": "green", "deny": "red", "requires_step_up": "yellow"}
_MARKS = {"holds": ("yes ", "green"), "does not hold": ("no  ", "red"), "fails": ("?   ", "yellow")}


def question(
    *,
    command: str,
    resource: str,
    args: str | None,
    context: str | None,
    purpose: str | None,
    now: str | None,
    agent: str | None,
    rate: int,
) -> PolicyRequest:
    """Return the question that the options describe."""
    members: dict[str, Any] = {
        "command": command,
        "resource": {"provider": provider_name(command), **_object("resource", resource)},
        "args": None if args is None else _object("args", args),
        "context": None if context is None else _object("context", context),
        "purpose": purpose,
        "now": datetime.now(UTC) if now is None else _time(now),
        "agent": agent,
        "rate": rate,
    }
    return parse({name: value for name, value in members.items() if value is not None})


def explain(
    policies: Path,
    providers: Path | None,
    question: PolicyRequest,
    *,
    as_json: bool,
    service: bool = False,
) -> None:
    """Print which policies determine the decision, and what would change it.

    With `service`, also print whether a grant for a service is possible: whether the grant would
    fix everything that policy depends on.
    """
    found = load(policies, providers)
    inquiry = question.inquiry(found.catalog)
    explanation = explained(found, inquiry)
    closure = _closure(found, inquiry, explanation.verdict) if service else None
    if as_json:
        said = explain_text.as_json(explanation)
        if closure is not None:
            opened = [{"policy": each.policy, "field": each.field} for each in closure.open]
            said["service"] = {
                "closed": closure.closed,
                "forkable": closure.forkable,
                "policies": list(closure.policies),
                "open": opened,
            }
        print_json(said)
    else:
        _show(explanation)
        if closure is not None:
            _show_closure(closure)


def _closure(found: Bundle, inquiry: PolicyQuestion, verdict: PolicyDecision) -> Closure | None:
    """Return how a grant for a service would be signed; None if the question is denied."""
    if verdict.decision == "deny":
        return None
    approved = verdict.decision == "requires_step_up"
    folder = PATH in inquiry.resource and not approved
    grant = GrantedCalls((inquiry.command,), inquiry.resource, folder=folder)
    return grant_closure.closure(found, inquiry, grant, cosigned=approved)


def _show_closure(closure: Closure) -> None:
    stdout.print(Text("\nfor a service, which does not check policy", style="bold"))
    if closure.closed:
        stdout.print(
            Text("  possible: a grant fixes everything that policy depends on", style="green")
        )
        if not closure.forkable:
            apart = ", ".join(closure.policies)
            stdout.print(
                Text(f"  it cannot be delegated: {apart} may decide differently for other agents")
            )
        return
    stdout.print(Text("  denied: a grant would leave open what policy depends on", style="red"))
    for each in closure.open:
        stdout.print(Text(f"      {each.field}  {each.policy}"))


def _object(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{text!r} is not JSON: {error}", setting=f"--{option}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{text!r} is not a JSON object", setting=f"--{option}")
    return value


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is not a time; write it as 2026-01-05T09:00:00Z", setting="--now"
        ) from error


def _show(explanation: PolicyExplanation) -> None:
    verdict = explanation.verdict
    said = {"allow": "allowed", "deny": "denied", "requires_step_up": "requires approval"}
    reason = f"  {verdict.reason}" if verdict.reason else ""
    stdout.print(
        Text.assemble(
            (said[verdict.decision], f"bold {_STYLES[verdict.decision]}"), (reason, "dim")
        )
    )
    if verdict.message:
        stdout.print(Text(verdict.message))
    if explanation.determined:
        _show_determined(explanation)
    looks = [each for each in explanation.looks if each.concerns]
    if looks:
        _show_looks(looks)
    if explanation.changes:
        stdout.print(Text("\nwhat would change the decision", style="bold"))
        for change in explanation.changes:
            _show_change(change)


def _show_determined(explanation: PolicyExplanation) -> None:
    stdout.print(Text("\ndetermined by", style="bold"))
    for policy in explanation.determined:
        asks = f"  approval by {policy.step_up}" if policy.step_up else ""
        heading = Text.assemble(effect(policy), f" {policy.name}{asks}  ", where(policy))
        stdout.print(Text.assemble("  ", heading))
        _indented(6, Text(policy.text, style="dim"))


def _show_looks(looks: list[PolicyTrace]) -> None:
    table = new_table("policies for this command", "effect", "applies", "where")
    applies = {"holds": "yes", "does not hold": "no", "fails": "fails"}
    for look in looks:
        table.add_row(
            Text(look.policy.name),
            effect(look.policy),
            Text(applies[look.state]),
            where(look.policy),
        )
    stdout.print()
    stdout.print(table)


def _show_change(change: Suggestion) -> None:
    line = Text.assemble(("  • ", "dim"), explain_text.sentence(change))
    if change.then is not None:
        line.append(" → ", "dim").append(*_styled(change.then))
    stdout.print(line)
    for part in change.parts:
        if len(change.parts) > 1 and part.conditions:
            _indented(6, Text(part.policy.name, style="dim"))
        for condition in part.conditions:
            mark = Text.assemble(_MARKS[condition.state], condition.text)
            _indented(8 if len(change.parts) > 1 else 6, mark)
    if change.kind == "add" and change.text is not None:
        _indented(6, Text(change.text))
    for policy in change.lifted:
        _indented(6, Text(f"and if forbid {policy.name} did not apply"))
    if change.answered is not None:
        same = Text("the same question with ", style="dim")
        same.append(explain_text.differently(change.question), "not dim").append(" → ", "dim")
        _indented(6, same.append(*_styled(change.answered)))


def _styled(verdict: PolicyDecision) -> tuple[str, str]:
    return explain_text.outcome(verdict), f"not dim {_STYLES[verdict.decision]}"


def _indented(by: int, text: Text) -> None:
    """Print each line in full, so that it can be copied."""
    for line in text.split("\n"):
        stdout.print(Text.assemble(" " * by, line))
