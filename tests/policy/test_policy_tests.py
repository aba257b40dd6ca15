"""Policy test files: their form, errors and failed cases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from nomos.errors import ConfigurationError, InvalidRequest
from nomos.policy import policy_tests
from nomos.policy.bundle import Source, load
from nomos.policy.policy_request import AGENT, parse
from nomos.policy.policy_tests import Difference, PolicyTestOutcome
from nomos.server.providers.catalog import load_catalog

CATALOG = load_catalog()
BUNDLE = load(
    [
        Source(
            "p.cedar",
            """\
@id("reads") permit(principal, action in Action::"/github", resource) when
{ resource.owner == "acme" };

@id("writes") permit(principal, action == Action::"/filesystem/file/write", resource);
@id("ask") @step_up("lead") @reason("a lead looks at this")
forbid(principal, action == Action::"/github/pr/create", resource) unless { context.cosigned };
@id("bound") forbid(principal, action == Action::"/filesystem/file/write", resource)
unless { context.argsBound };
@id("late") forbid(principal, action, resource) when { context.now.hour >= 20 };
@id("deep") forbid(principal, action, resource) when
{ principal.delegationDepth > 2 || principal.swarmId == "s" || context.rate > 9 ||
  principal.invokedBy.contains("did:x") || context.agent has bad || context.purpose == "harm" ||
  principal in App::"evil" };
""",
        )
    ],
    CATALOG,
    {"bad": "Bool"},
)
LIST: dict[str, Any] = {
    "name": "a",
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "ACME", "repo": "app"},
    "expect": "allow",
}
WRITE: dict[str, Any] = {
    "name": "a",
    "command": "/filesystem/file/write",
    "resource": {"provider": "filesystem", "path": "./a"},
    "args": {"content": "x"},
    "expect": "allow",
}


def run(*given: dict[str, Any], **top: Any) -> list[PolicyTestOutcome]:
    return list(
        policy_tests.run(BUNDLE, policy_tests.read({"cases": list(given), **top}, "t.yaml"))
    )


def wrong(document: object) -> str:
    with pytest.raises(ConfigurationError) as raised:
        policy_tests.run(BUNDLE, policy_tests.read(document, "t.yaml"))
    assert raised.value.setting == "tests"
    return str(raised.value)


def test_passing_cases_are_ok() -> None:
    outcomes = run(
        {**LIST, "policies": ["reads"]},
        {**WRITE, "name": "b", "policies": ["writes"]},
        {
            **{k: v for k, v in WRITE.items() if k != "args"},
            "name": "c",
            "expect": "deny",
            "policies": ["bound"],
            "reason": "policy_denied",
        },
        {
            **LIST,
            "name": "d",
            "command": "/github/pr/create",
            "args": {"title": "t", "head": "h", "base": "b"},
            "expect": "requires_step_up",
            "roles": ["lead"],
            "policies": ["ask"],
            "reason": "step_up_required",
        },
        {
            **LIST,
            "name": "e",
            "command": "/github/nope",
            "expect": "deny",
            "policies": [],
            "resource": {"provider": "github"},
            "reason": "command_unknown",
        },
    )
    assert [outcome.ok for outcome in outcomes] == [True] * 5
    assert outcomes[3].decided[0].line == 5


@pytest.mark.parametrize(
    "member",
    [
        {"delegationDepth": 3},
        {"swarmId": "s"},
        {"rate": 10},
        {"invokedBy": ["did:x"]},
        {"context": {"bad": True}},
        {"purpose": "harm"},
        {"app": "evil"},
    ],
    ids=lambda member: next(iter(member)),
)
def test_every_member_reaches_policy(member: dict[str, Any]) -> None:
    [outcome] = run({**LIST, **member})
    assert outcome.verdict.policies == ("deep",)


def test_a_deny_of_a_misspelt_command_fails_unless_its_reason_is_expected() -> None:
    unknown = {"command": "/github/issue/lst", "resource": {"provider": "github"}}
    [outcome] = run({"name": "a", **unknown, "expect": "deny"})
    [found] = outcome.differences
    assert (found.member, found.expected) == ("reason", "that of a known command")
    assert found.got == outcome.verdict.reason == "command_unknown"
    [expected] = run({"name": "a", **unknown, "expect": "deny", "reason": "command_unknown"})
    assert expected.ok


def test_the_time_is_a_monday_morning_unless_it_is_given() -> None:
    evening = datetime(2026, 1, 5, 20, tzinfo=UTC)
    usual, late = run(LIST, {**LIST, "name": "late", "now": evening})
    assert usual.ok
    assert late.verdict.policies == ("late",)
    assert parse({k: LIST[k] for k in ("command", "resource")}).inquiry(CATALOG).agent == AGENT


def test_a_failed_case_has_expected_and_actual_values() -> None:
    [outcome] = run(
        {**LIST, "expect": "deny", "policies": ["z", "b"], "reason": "revoked", "roles": ["lead"]}
    )
    assert not outcome.ok
    assert outcome.differences == (
        Difference("expect", "deny", "allow"),
        Difference("reason", "revoked", "none"),
        Difference("policies", "b, z", "reads"),
        Difference("roles", "lead", "none"),
    )
    result = policy_tests.as_json(outcome)
    assert result["case"] == "a"
    assert result["ok"] is False
    assert result["policies"] == [{"name": "reads", "file": "p.cedar", "line": 1}]
    assert result["differences"][0] == {"member": "expect", "expected": "deny", "got": "allow"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "t.yaml: must have a list of `cases:`"),
        ({"cases": {}}, "must have a list of `cases:`"),
        ({"cases": []}, "cases: must be 1 to 10000, not 0"),
        ({"cases": [LIST] * 10_001}, "cases: must be 1 to 10000"),
        ({"cases": [LIST], "case": 1}, "case: is not a member of this format"),
        ({"cases": [LIST], "policies": 1}, "policies: must be a path"),
        ({"cases": [LIST], "policies": ""}, "policies: must be a path"),
        ({"cases": ["x"]}, "case 1: must be a mapping"),
        ({"cases": [{}]}, "case 1: command: is required"),
        ({"cases": [{**LIST, "name": 1}]}, "case 1: name:"),
        ({"cases": [LIST, LIST]}, "case 'a': name: another case has the same name"),
        ({"cases": [{**LIST, "expects": "deny"}]}, "case 'a': expects: is not a member"),
        ({"cases": [{**LIST, "expect": "maybe"}]}, "case 'a': expect:"),
        ({"cases": [{**LIST, "rate": None}]}, "case 'a': rate: has no value; leave it out"),
        ({"cases": [{**LIST, "now": datetime(2026, 1, 5, 9)}]}, "now: needs a time zone"),  # noqa: DTZ001
        ({"cases": [{**LIST, "agent": "me"}]}, "case 'a': agent:"),
        ({"cases": [{**LIST, "resource": {"provider": "github"}}]}, "resource.owner is missing"),
        ({"cases": [{**LIST, "command": "/gitlab/x"}]}, "unknown provider gitlab"),
        ({"cases": [{**LIST, "command": "/github/issue"}]}, "is a group of commands"),
        ({"cases": [{**WRITE, "args": {}}]}, "args.content is missing"),
        ({"cases": [{**LIST, "args": {"nope": 1}}]}, "args.nope is not taken"),
        ({"cases": [{**WRITE, "args": {"content": "x" * 20_000}}]}, "args: is larger than"),
        ({"cases": [{**LIST, "context": {"a": "x" * 5000}}]}, "context: is larger than"),
        (
            {"cases": [{**LIST, "context": {"a": {1, 2}}}]},
            "context: contains a value that is not JSON",
        ),
        (
            {"cases": [{**LIST, "context": {"a": "\ud800"}}]},
            "context: contains a value that is not JSON",
        ),
    ],
)
def test_a_mistake_names_file_case_and_member(document: object, words: str) -> None:
    message = wrong(document)
    assert message.startswith("t.yaml: ")
    assert words in message


def test_policies_named_in_the_file_are_kept() -> None:
    assert policy_tests.read({"policies": "../p", "cases": [LIST]}, "t").policies == "../p"


def test_a_faulty_question_names_its_members() -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse({"command": "nope", "colour": "red"})
    assert set(raised.value.fields) == {"command", "resource", "colour"}
