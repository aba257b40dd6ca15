"""Explanations: what they contain, and that every statement in them is true."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from long_runs import times

from nomos.policy import explain_text
from nomos.policy.bundle import Bundle, Source, load
from nomos.policy.conditions import body_of, conditions
from nomos.policy.decide import decide
from nomos.policy.explain import PolicyExplanation, Suggestion, explain
from nomos.policy.policy_request import parse
from nomos.policy.render import render
from nomos.server.providers.catalog import load_catalog

CATALOG = load_catalog()
FACTS = {"ticket": "String", "count": "Long", "urgent": "Bool", "teams": "Set<String>"}
REPO = {"provider": "github", "owner": "acme", "repo": "app"}

POOL = {
    "reads": 'permit(principal, action in Action::"/github/issue", resource) when '
    '{ resource.owner == "acme" && context.now.hour >= 7 && context.now.hour < 19 };',
    "ticketed": 'permit(principal, action in Action::"/github", resource is Github) when '
    '{ context.agent has ticket && context.agent.ticket like "OPS-*" };',
    "fact": "permit(principal, action, resource is Github) when "
    "{ context.agent has teams && context.agent has urgent && context.agent has count };",
    "files": 'permit(principal, action, resource is Filesystem) when { resource.path like "a/*" };',
    "mine": 'permit(principal in App::"mine", action, resource);',
    "listed": 'permit(principal, action in [Action::"/github/pr/create", '
    'Action::"/github/issue/create"], resource is Github in Github::"x") '
    'when { ["acme", "b\\"c"].contains(resource.owner) };',
    "optional": "permit(principal, action, resource is Github) when "
    "{ resource has issue_number && resource.issue_number == 7 };",
    "either": "forbid(principal, action, resource is Github) unless "
    '{ resource.owner == "acme" || context.purpose == "tidy up" };',
    "ask": '@step_up("lead") forbid(principal, action == Action::"/github/pr/create", resource) '
    "unless { context.cosigned };",
    "ask too": '@step_up("boss") forbid(principal, action in Action::"/github/pr", resource) '
    'when { !context.cosigner && resource.repo == "app" };',
    "archive": 'forbid(principal, action, resource is Github) when { resource.repo == "archive" };',
    "bound": 'forbid(principal, action == Action::"/github/issue/create", resource) '
    "unless { context.argsBound };",
    "fast": "forbid(principal, action, resource) when { context.rate > 3 };",
    "broken": 'forbid(principal, action == Action::"/github/issue/read", resource) when '
    "{ context.rate + 9223372036854775807 > 0 };",
    "broken later": 'permit(principal, action == Action::"/github/issue/close", resource) when '
    "{ context.cosigned || context.rate * 9223372036854775807 > 0 };",
    "approved only": 'permit(principal, action == Action::"/github/pr/merge", resource) when '
    "{ context.cosigned };",
    "entity": 'forbid(principal == Agent::"did:key:evil", action, resource);',
    "type": "permit(principal is Agent, action, resource) when { resource is Filesystem };",
}
POOL.pop("listed")


@functools.lru_cache(maxsize=4096)
def bundle(*names: str) -> Bundle:
    texts = [f'@id("{name}") {POOL[name]}' for name in names]
    return load([Source("p.cedar", "\n".join(texts))], CATALOG, FACTS)


def explained(
    policies: Bundle, command: str, resource: Any = REPO, **more: Any
) -> PolicyExplanation:
    return explain(policies, parse(_members(command, resource, **more)).inquiry(CATALOG))


def _members(command: str, resource: Any = REPO, **more: Any) -> dict[str, Any]:
    return {"command": command, "resource": resource, **more}


def kinds(explanation: PolicyExplanation) -> list[str]:
    return [change.kind for change in explanation.changes]


def texts(change: Suggestion) -> list[str]:
    return [each.text for part in change.parts for each in part.conditions]


def named(change: Suggestion) -> list[str]:
    return [part.policy.name for part in change.parts]


def test_a_near_miss_names_the_condition_and_a_question_that_would_do() -> None:
    night = datetime(2026, 1, 5, 3, tzinfo=UTC)
    explanation = explained(bundle("reads", "archive"), "/github/issue/list", now=night)
    assert explanation.verdict.decision == "deny"
    meet, add = explanation.changes
    assert (meet.kind, named(meet), texts(meet)) == ("meet", ["reads"], ["context.now.hour >= 7"])
    assert meet.then is not None
    assert meet.then.decision == "allow"
    assert meet.question == {"context.now": "2026-01-05T07:00:00Z"}
    assert add.kind == "add"
    assert explain_text.sentence(meet) == "permit reads, if this held"
    assert explain_text.differently(meet.question) == 'context.now = "2026-01-05T07:00:00Z"'


def test_a_question_without_a_permit_gets_the_narrowest_suggestion() -> None:
    resource = {**REPO, "issue_number": 7}
    explanation = explained(bundle(), "/github/issue/comment", resource)
    [add] = explanation.changes
    assert add.text == (
        '@id("github-issue-comment")\n'
        'permit (principal, action == Action::"/github/issue/comment", resource is Github)\n'
        'when { resource.owner == "acme" && resource.repo == "app" && '
        "resource has issue_number && resource.issue_number == 7 };"
    )
    again = load([Source("new.cedar", add.text)], CATALOG)
    narrow = parse(_members("/github/issue/comment", resource)).inquiry(CATALOG)
    assert decide(again, narrow).decision == "allow"
    other = parse(_members("/github/issue/comment", {**resource, "issue_number": 8}))
    assert decide(again, other.inquiry(CATALOG)).decision == "deny"


def test_a_suggested_permit_has_a_name_of_its_own_and_may_have_no_conditions() -> None:
    taken = '@id("github-repo-list") forbid(principal, action, resource is Filesystem);'
    policies = load([Source("p", taken)], CATALOG)
    explanation = explained(policies, "/github/repo/list", {"provider": "github"})
    [add] = explanation.changes
    assert add.text == (
        '@id("github-repo-list-2")\n'
        'permit (principal, action == Action::"/github/repo/list", resource is Github);'
    )


def test_a_forbid_is_explained_with_its_condition_and_the_permit_beside_it() -> None:
    explanation = explained(
        bundle("ticketed", "archive", "bound"),
        "/github/issue/create",
        {**REPO, "repo": "archive"},
    )
    assert [each.name for each in explanation.determined] == ["archive", "bound"]
    lift, meet, add = explanation.changes
    assert lift.kind == "lift"
    assert texts(lift) == ['resource.repo == "archive"', "!context.argsBound"]
    assert lift.then is not None
    assert (lift.then.decision, lift.then.policies) == ("deny", ())
    assert (meet.kind, named(meet)) == ("meet", ["ticketed"])
    assert [each.name for each in meet.lifted] == ["archive", "bound"]
    assert [(each.text, each.state) for each in meet.parts[0].conditions] == [
        ("context.agent has ticket", "does not hold"),
        ('context.agent.ticket like "OPS-*"', "fails"),
    ]
    assert add.then is not None
    assert add.then.decision == "allow"


def test_a_forbid_that_binding_the_arguments_lifts() -> None:
    explanation = explained(bundle("reads", "bound"), "/github/issue/create")
    [lift] = explanation.changes
    assert lift.question == {"context.argsBound": True}
    assert lift.answered is not None
    assert lift.answered.decision == "allow"
    assert explain_text.sentence(lift) == "forbid bound, if one of these did not hold"


def test_a_step_up_names_the_approving_roles() -> None:
    explanation = explained(
        bundle("ticketed", "ask", "ask too"), "/github/pr/create", context={"ticket": "OPS-1"}
    )
    approve, lift = explanation.changes
    assert (approve.kind, approve.roles) == ("approve", ("boss", "lead"))
    assert approve.then is not None
    assert (approve.then.decision, approve.then.policies) == ("allow", ("ticketed",))
    assert explain_text.sentence(approve) == "the approval of: boss, lead"
    assert texts(lift) == ['resource.repo == "app"']
    assert "of each one of these" in explain_text.sentence(lift)


def test_a_step_up_for_every_such_call() -> None:
    explanation = explained(
        bundle("ticketed", "ask"), "/github/pr/create", context={"ticket": "OPS-1"}
    )
    assert explain_text.sentence(explanation.changes[1]) == "forbid ask, if it were removed"


def test_an_allow_names_the_policies_that_it_depends_on() -> None:
    explanation = explained(bundle("reads", "archive", "fast"), "/github/issue/list")
    withdraw, *forbids = explanation.changes
    assert (withdraw.kind, named(withdraw)) == ("withdraw", ["reads"])
    assert {named(each)[0]: each.question for each in forbids} == {
        "archive": {"resource.repo": "archive"},
        "fast": {},
    }


def test_a_failing_policy_is_explained_with_the_failing_expression() -> None:
    explanation = explained(
        bundle("reads", "broken"), "/github/issue/read", {**REPO, "issue_number": 7}, rate=1
    )
    assert explanation.verdict.reason == "policy_error"
    [mend] = explanation.changes
    assert texts(mend) == ["context.rate + 9223372036854775807 > 0"]
    assert mend.then is not None
    assert mend.then.decision == "allow"
    assert explain_text.outcome(explanation.verdict) == "policy_error by broken"
    assert explain_text.sentence(mend) == "broken, if it could be evaluated"


def test_a_pattern_suggests_a_matching_path() -> None:
    resource = {"provider": "filesystem", "path": "b"}
    meet, _ = explained(bundle("files"), "/filesystem/dir/list", resource).changes
    assert meet.question == {"resource.path": "a/x"}


def test_a_condition_on_the_hour_alone_is_met_by_waiting() -> None:
    text = "permit(principal, action, resource) when { context.now.hour == 23 };"
    policies = load([Source("p", text)], CATALOG)
    meet, _ = explained(policies, "/github/issue/list").changes
    assert meet.question == {"context.now": "2026-01-05T23:00:00Z"}


def test_a_condition_on_the_purpose_suggests_one() -> None:
    text = 'permit(principal, action, resource) when { context.purpose == "triage" };'
    policies = load([Source("p", text)], CATALOG)
    meet, _ = explained(policies, "/github/issue/list").changes
    assert meet.question == {"context.purpose": "triage"}


def test_an_explanation_in_words_and_as_json() -> None:
    explanation = explained(
        bundle("ticketed", "ask"), "/github/pr/create", context={"ticket": "OPS-1"}
    )
    assert explain_text.outcome(explanation.verdict) == "asks a person (lead)"
    assert explain_text.outcome(explained(bundle("fast"), "/github/repo/read", rate=9).verdict) == (
        "denied by fast"
    )
    allowed = explained(bundle("reads"), "/github/issue/list").verdict
    assert explain_text.outcome(allowed) == "allowed by reads"
    assert explain_text.place(explanation.determined[0]) == "p.cedar:2"
    found = explain_text.as_json(explanation)
    assert found["determined"][0]["stepUp"] == "lead"
    assert found["changes"][0]["then"]["decision"] == "allow"
    assert "question" not in found["changes"][0]
    assert explain_text.outcome(explained(bundle("ask"), "/github/pr/create").verdict) == "denied"
    assert (
        explain_text.outcome(explained(bundle("ticketed"), "/github/nope").verdict)
        == "command_unknown"
    )


def test_an_unknown_command_is_explained() -> None:
    explanation = explained(bundle(), "/github/issue/lst")
    assert "then" not in explain_text.as_json(explanation)["changes"][0]
    assert explain_text.sentence(explanation.changes[0]) == (
        "the command /github/issue/list, if that is what is meant"
    )
    assert explained(bundle(), "/github/zzzzzzzzzzzzzzzzzzzzz").changes == ()


@pytest.mark.parametrize("member", ["swarm_id", "purpose"])
def test_a_question_that_cannot_be_put_to_cedar_is_not_explained(member: str) -> None:
    inquiry = parse(_members("/github/issue/list")).inquiry(CATALOG)
    unreadable: dict[str, Any] = {member: "\ud800"}
    explanation = explain(bundle("reads"), dataclasses.replace(inquiry, **unreadable))
    assert explanation.verdict.reason == "policy_error"
    assert (explanation.determined, explanation.looks, explanation.changes) == ((), (), ())


def test_unrelated_policies_are_marked() -> None:
    explanation = explained(bundle("files", "type", "mine", "reads"), "/github/issue/list")
    assert {each.policy.name: each.concerns for each in explanation.looks} == {
        "files": False,
        "type": False,
        "mine": True,
        "reads": True,
    }


@pytest.mark.parametrize("name", POOL)
def test_conditions_are_rendered_with_the_same_meaning(name: str) -> None:
    found = conditions(body_of(POOL[name]))
    for node in found:
        text = render(node)
        [again] = body_of(f"permit(principal, action, resource) when {{ {text} }};")["conditions"]
        assert again["body"] == node
        assert "(context.now)" not in text


def test_every_kind_of_scope_is_a_condition() -> None:
    text = (
        'permit(principal is Agent in App::"a", action in [Action::"/a", Action::"/b"], '
        'resource == Github::"g") when { resource.owner == "(x)" };'
    )
    assert [render(each) for each in conditions(body_of(text))] == [
        'principal is Agent in App::"a"',
        'action in [Action::"/a", Action::"/b"]',
        'resource == Github::"g"',
        'resource.owner == "(x)"',
    ]


def test_a_long_chain_is_split_without_recursion() -> None:
    chain = " && ".join(["context.rate == 0"] * 400)
    policies = load(
        [Source("p", f"permit(principal, action, resource) when {{ {chain} }};")], CATALOG
    )
    assert len(explained(policies, "/github/issue/list").looks[0].conditions) == 400


COMMANDS: dict[str, dict[str, Any]] = {
    "/github/issue/list": {},
    "/github/issue/create": {},
    "/github/issue/read": {"issue_number": 7},
    "/github/issue/close": {"issue_number": 8},
    "/github/pr/create": {},
    "/github/pr/merge": {"pull_number": 1},
    "/filesystem/dir/list": {"path": "b"},
}
QUESTIONS = st.fixed_dictionaries(
    {
        "command": st.sampled_from(sorted(COMMANDS)),
        "owner": st.sampled_from(["acme", "other"]),
        "repo": st.sampled_from(["app", "archive"]),
        "hour": st.sampled_from([3, 9, 22]),
        "rate": st.sampled_from([0, 1, 5]),
        "purpose": st.sampled_from([None, "tidy up"]),
        "context": st.sampled_from([{}, {"ticket": "OPS-1"}, {"ticket": "x", "urgent": True}]),
        "app": st.sampled_from(["app_test", "mine"]),
    }
)


def question(drawn: dict[str, Any]) -> dict[str, Any]:
    command = drawn["command"]
    names = () if command.startswith("/filesystem") else ("owner", "repo")
    members = {
        "command": command,
        "resource": {
            "provider": command.split("/")[1],
            **{name: drawn[name] for name in names},
            **COMMANDS[command],
        },
        "now": datetime(2026, 1, 5, drawn["hour"], tzinfo=UTC),
        "rate": drawn["rate"],
        "context": drawn["context"],
        "app": drawn["app"],
    }
    return members if drawn["purpose"] is None else {**members, "purpose": drawn["purpose"]}


def edited(members: dict[str, Any], edits: dict[str, Any]) -> dict[str, Any]:
    """The same question with what an explanation says to change, written by hand."""
    found = {**members, "resource": {**members["resource"]}, "context": {**members["context"]}}
    for path, value in edits.items():
        match path.split("."):
            case ["resource", name]:
                found["resource"][name] = value
            case ["context", "agent", name]:
                found["context"][name] = value
            case ["context", "now"]:
                found["now"] = datetime.fromisoformat(value)
            case ["context", "argsBound"]:
                found["bound"] = value
            case ["context", name]:
                found[name] = value
    return found


@settings(max_examples=times(150, short=50), deadline=None)
@given(st.lists(st.sampled_from(sorted(POOL)), unique=True, max_size=7), QUESTIONS)
def test_every_statement_of_an_explanation_is_true(names: list[str], drawn: dict[str, Any]) -> None:
    policies, members = bundle(*sorted(names)), question(drawn)
    inquiry = parse(members).inquiry(CATALOG)
    explanation = explain(policies, inquiry)
    decided = decide(policies, inquiry)
    assert explanation.verdict == decided
    assert json.loads(json.dumps(explain_text.as_json(explanation)))["decision"] == decided.decision
    for change in explanation.changes:
        assert explain_text.sentence(change)
        assert change.then is not None
        removed = {*named(change), *(each.name for each in change.lifted)}
        kept = tuple(sorted(set(names) - removed))
        match change.kind:
            case "lift" | "mend" | "withdraw":
                assert decide(bundle(*kept), inquiry) == change.then
                assert change.then != decided
            case "add":
                whole = [f'@id("{name}") {POOL[name]}' for name in kept]
                more = load([Source("p", "\n".join([*whole, change.text or ""]))], CATALOG, FACTS)
                assert decide(more, inquiry) == change.then
                assert change.then.decision != "deny" or change.then.reason == "policy_error"
            case "approve":
                assert change.then.decision == "allow"
            case "meet":
                assert change.then.decision != "deny" or change.then.reason == "policy_error"
            case "forbid":
                assert change.then.decision != "allow"
        if change.answered is not None:
            other = edited(members, dict(change.question))
            bound = other.pop("bound", False)
            if bound:
                other["args"] = {"title": "t"}
            answered = decide(policies, parse(other).inquiry(CATALOG))
            assert answered == change.answered
            assert (answered.decision, answered.reason) != (decided.decision, decided.reason)


def test_every_kind_of_change_is_met() -> None:
    """The property above is about all of them."""
    seen: set[str] = set()
    names = sorted(each for each in POOL if "broken" not in each)
    drawn = {"owner": "acme", "repo": "app", "rate": 1, "purpose": None, "app": "app_test"}
    for command, hour, ticket in itertools.product(COMMANDS, (3, 9), ("OPS-1", "x")):
        more = {"command": command, "hour": hour, "context": {"ticket": ticket}}
        inquiry = parse(question({**drawn, **more})).inquiry(CATALOG)
        seen |= set(kinds(explain(bundle(*names), inquiry)))
    assert seen == {"approve", "lift", "add", "forbid", "withdraw", "meet"}
