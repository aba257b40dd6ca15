"""Deny wins, errors deny, and a step-up is required only if an approval leads to an allow."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nomos.policy.bundle import Bundle, Source, load
from nomos.policy.decide import MAX_LONG, decide
from nomos.policy.decision import PolicyDecision, PolicyQuestion
from nomos.server.providers.catalog import load_catalog

CATALOG = load_catalog()
FACTS = {"ticket": "String", "count": "Long", "urgent": "Bool", "teams": "Set<String>"}

LIST = PolicyQuestion(
    agent="did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
    app="triage",
    command="/github/issue/list",
    provider="github",
    resource={"provider": "github", "owner": "acme", "repo": "app"},
    args_bound=False,
    now=1_790_000_000,
)
CREATE = dataclasses.replace(LIST, command="/github/pr/create")

ALL = '@id("all") permit(principal, action, resource);'
ASK = """\
@id("ask") @step_up("lead") @reason("Pull requests need a person.")
forbid(principal, action == Action::"/github/pr/create", resource) unless { context.cosigned };
"""
ASK_TOO = """\
@id("ask too") @step_up("security")
forbid(principal, action in Action::"/github/pr", resource) unless { context.cosigner };
"""
HARD = '@id("hard") forbid(principal, action in Action::"/github/pr", resource);'
OVERFLOW = "context.now.epoch + 9223372036854775807 > 0"


@functools.cache
def bundle(*texts: str) -> Bundle:
    return load([Source("p.cedar", "\n".join(texts))], CATALOG, FACTS)


def answer(inquiry: PolicyQuestion, *texts: str) -> PolicyDecision:
    return decide(bundle(*texts), inquiry)


def holds(condition: str, inquiry: PolicyQuestion = LIST) -> bool:
    text = f"permit(principal, action, resource is Github) when {{ {condition} }};"
    return answer(inquiry, text).decision == "allow"


def test_without_policies_everything_is_denied() -> None:
    decided = answer(LIST)
    assert (decided.decision, decided.reason, decided.policies) == ("deny", "policy_denied", ())
    assert decided.message == "no policy permits /github/issue/list here"


def test_a_permit_allows_and_is_named() -> None:
    assert answer(LIST, ALL) == PolicyDecision("allow", policies=("all",))


def test_a_bundle_decides_in_any_thread() -> None:
    policies, decisions = bundle(ALL), list[PolicyDecision]()
    threads = [
        threading.Thread(target=lambda: decisions.append(decide(policies, LIST))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert decisions == [PolicyDecision("allow", policies=("all",))] * 4


def test_names_come_sorted() -> None:
    second = '@id("a") permit(principal, action, resource);'
    assert answer(LIST, ALL, second).policies == ("a", "all")


def test_deny_wins() -> None:
    decided = answer(CREATE, ALL, HARD)
    assert (decided.decision, decided.reason) == ("deny", "policy_denied")
    assert decided.policies == ("hard",)
    assert decided.message == "forbidden by hard"


def test_a_forbids_reason_is_the_message() -> None:
    hard = '@reason("Not on Fridays.") forbid(principal, action, resource);'
    assert answer(LIST, ALL, hard).message == "Not on Fridays."


def test_a_step_up_requires_its_role() -> None:
    decided = answer(CREATE, ALL, ASK)
    assert (decided.decision, decided.reason) == ("requires_step_up", "step_up_required")
    assert (decided.policies, decided.roles) == (("ask",), ("lead",))
    assert decided.message == "Pull requests need a person."


def test_several_step_ups_require_every_role() -> None:
    decided = answer(CREATE, ALL, ASK, ASK_TOO)
    assert (decided.policies, decided.roles) == (("ask", "ask too"), ("lead", "security"))


def test_a_step_up_without_a_reason_names_its_role() -> None:
    assert answer(CREATE, ALL, ASK_TOO).message == "requires the approval of: security"


def test_several_roles_and_several_reasons_are_all_in_the_message() -> None:
    asks = (
        f'@id("{role}") @step_up("{role}") forbid(principal, action in Action::"/github/pr", '
        "resource) unless { context.cosigned };"
        for role in ("security", "lead")
    )
    assert answer(CREATE, ALL, *asks).message == "requires the approval of: lead, security"
    also = HARD.replace("hard", "also hard")
    assert answer(CREATE, ALL, HARD, also).message == "forbidden by also hard, hard"
    reasons = (HARD.replace("forbid(", f'@reason("{text}") forbid(') for text in ("No.", "Never."))
    unique = (text.replace("hard", name) for text, name in zip(reasons, "ab", strict=True))
    assert answer(CREATE, ALL, *unique).message == "Never.; No."


def test_a_step_up_does_not_affect_other_commands() -> None:
    assert answer(LIST, ALL, ASK).decision == "allow"


def test_a_hard_forbid_beside_a_step_up_is_a_deny() -> None:
    decided = answer(CREATE, ALL, ASK, HARD)
    assert (decided.decision, decided.reason) == ("deny", "policy_denied")
    assert decided.policies == ("ask", "hard")


def test_an_agent_without_a_permit_is_denied_without_a_step_up() -> None:
    decided = answer(CREATE, ASK)
    assert (decided.decision, decided.reason) == ("deny", "policy_denied")
    assert (decided.policies, decided.roles) == ((), ())


def test_a_forbid_that_only_an_approval_brings_about_is_a_deny() -> None:
    odd = '@id("odd") forbid(principal, action, resource) when { context.cosigned };'
    decided = answer(CREATE, ALL, ASK, odd)
    assert (decided.decision, decided.policies) == ("deny", ("odd",))


def test_a_step_up_that_an_approval_does_not_lift_here_is_a_deny() -> None:
    stays = (
        '@id("stays") @step_up("lead") forbid(principal, action, resource)'
        " unless { context.cosigned && context.argsBound };"
    )
    assert answer(CREATE, ALL, stays).decision == "deny"
    bound = dataclasses.replace(CREATE, args_bound=True)
    assert answer(bound, ALL, stays).decision == "requires_step_up"


@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_policy_that_fails_is_a_deny_even_beside_a_permit(effect: str) -> None:
    failing = f'@id("fails") {effect}(principal, action, resource) when {{ {OVERFLOW} }};'
    decided = answer(LIST, ALL, failing)
    assert (decided.decision, decided.reason) == ("deny", "policy_error")
    assert decided.policies == ("fails",)
    assert decided.message == "evaluation failed, so the call is denied: fails"
    decided = answer(LIST, ALL, failing, failing.replace('"fails"', '"too"'))
    assert decided.policies == ("fails", "too")
    assert decided.message == "evaluation failed, so the call is denied: fails and too"


def test_a_policy_that_fails_in_the_second_pass_is_a_deny() -> None:
    late = (
        '@id("late") forbid(principal, action, resource)'
        f" when {{ context.cosigned && {OVERFLOW} }};"
    )
    assert answer(LIST, ALL, late).decision == "allow"
    decided = answer(CREATE, ALL, ASK, late)
    assert (decided.decision, decided.reason) == ("deny", "policy_error")
    assert decided.policies == ("late",)


def test_a_command_that_is_not_registered_is_unknown() -> None:
    for command in ("/github/issue", "/github/nope", "/gitlab/issue/list", ""):
        decided = answer(dataclasses.replace(LIST, command=command), ALL)
        assert (decided.decision, decided.reason) == ("deny", "command_unknown")
        assert decided.message == f"{command} is not a registered command of github"


def test_a_command_belongs_to_its_provider() -> None:
    decided = answer(dataclasses.replace(LIST, provider="filesystem"), ALL)
    assert decided.reason == "command_unknown"


def test_policies_can_be_about_agents_apps_commands_and_resources() -> None:
    def permit(scope: str) -> str:
        return answer(LIST, f"permit({scope});").decision

    did = LIST.agent
    assert permit(f'principal == Agent::"{did}", action, resource') == "allow"
    assert permit('principal == Agent::"did:key:other", action, resource') == "deny"
    assert permit('principal in App::"triage", action, resource') == "allow"
    assert permit('principal in App::"other", action, resource') == "deny"
    assert permit('principal, action in Action::"/github/issue", resource') == "allow"
    assert permit('principal, action in Action::"/github/pr", resource') == "deny"
    assert permit('principal, action == Action::"/github/issue/list", resource') == "allow"
    assert permit("principal, action, resource is Github") == "allow"
    assert permit("principal, action, resource is Filesystem") == "deny"


def test_policy_sees_the_resource() -> None:
    assert holds('resource.owner == "acme" && resource.repo == "app"')
    assert not holds("resource has issue_number")
    issue = dataclasses.replace(
        LIST, command="/github/issue/read", resource={**LIST.resource, "issue_number": 7}
    )
    assert holds("resource has issue_number && resource.issue_number == 7", issue)


def test_a_required_string_that_the_command_does_not_take_is_empty() -> None:
    user = dataclasses.replace(LIST, command="/github/user/read", resource={"provider": "github"})
    assert holds('resource.owner == ""', user)
    assert not holds('resource.owner == "acme"', user)


def test_policy_sees_the_principal() -> None:
    assert holds("principal.delegationDepth == 0 && principal.invokedBy.isEmpty()")
    assert holds(f'principal.rootAgent == "{LIST.agent}" && principal.swarmId == ""')
    child = dataclasses.replace(
        LIST, delegation_depth=2, root_agent="r", invoked_by=("r", "p"), swarm_id="s"
    )
    assert holds('principal.delegationDepth == 2 && principal.rootAgent == "r"', child)
    assert holds('principal.invokedBy.containsAll(["r", "p"])', child)
    assert holds('principal.swarmId == "s"', child)


def test_policy_sees_the_call() -> None:
    assert holds('!context.argsBound && context.purpose == "" && context.rate == 0')
    assert holds("!context.cosigned && !context.cosigner")
    call = dataclasses.replace(LIST, args_bound=True, purpose="weekly triage", rate=3)
    assert holds('context.argsBound && context.purpose like "*triage" && context.rate == 3', call)


@pytest.mark.parametrize("now", [0, 82_799, 82_800, 86_399, 86_400, 1_790_000_000, 253_402_300_799])
def test_policy_sees_the_time_in_utc(now: int) -> None:
    time = datetime.fromtimestamp(now, UTC)
    inquiry = dataclasses.replace(LIST, now=now)
    assert holds(f"context.now.epoch == {now} && context.now.hour == {time.hour}", inquiry)
    assert holds(f"context.now.dayOfWeek == {time.isoweekday()}", inquiry)


@pytest.mark.parametrize(
    ("facts", "condition"),
    [
        ({"ticket": "T-1"}, 'context.agent has ticket && context.agent.ticket == "T-1"'),
        ({"count": -3}, "context.agent has count && context.agent.count == -3"),
        ({"count": MAX_LONG}, f"context.agent has count && context.agent.count == {MAX_LONG}"),
        ({"count": -MAX_LONG - 1}, "context.agent has count && context.agent.count < 0"),
        ({"urgent": True}, "context.agent has urgent && context.agent.urgent"),
        ({"teams": ["a", "b"]}, 'context.agent has teams && context.agent.teams.contains("b")'),
        ({"teams": ()}, "context.agent has teams && context.agent.teams.isEmpty()"),
    ],
)
def test_policy_sees_declared_facts(facts: dict[str, Any], condition: str) -> None:
    assert holds(condition, dataclasses.replace(LIST, facts=facts))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ticket", 7),
        ("ticket", None),
        ("ticket", {"__entity": {"type": "App", "id": "triage"}}),
        ("count", "7"),
        ("count", True),
        ("count", 7.0),
        ("count", MAX_LONG + 1),
        ("count", -MAX_LONG - 2),
        ("urgent", 1),
        ("urgent", "true"),
        ("teams", "a"),
        ("teams", ["a", 1]),
        ("teams", {"a": 1}),
    ],
)
def test_a_fact_of_another_type_is_not_passed(name: str, value: object) -> None:
    inquiry = dataclasses.replace(LIST, facts={name: value, "undeclared": "x"})
    assert holds(f"!(context.agent has {name})", inquiry)


@pytest.mark.parametrize(
    "change",
    [
        {"now": 2**63},
        {"now": "noon"},
        {"now": None},
        {"rate": 1.5},
        {"rate": 2**64},
        {"args_bound": "yes"},
        {"purpose": "\ud800"},
        {"purpose": 7},
        {"agent": "\ud800"},
        {"agent": None},
        {"app": None},
        {"command": None},
        {"resource": None},
        {"resource": {**LIST.resource, "owner": 7}},
        {"resource": {**LIST.resource, "owner": "\ud800"}},
        {"resource": {**LIST.resource, "unknown": 1}},
        {"resource": {**LIST.resource, "owner": {"__entity": {"type": "App", "id": "a"}}}},
        {"facts": None},
        {"facts": {"ticket": "\udfff"}},
        {"invoked_by": None},
        {"invoked_by": [1]},
        {"delegation_depth": "0"},
        {"swarm_id": object()},
    ],
)
def test_a_question_that_cedar_cannot_evaluate_is_a_deny(change: dict[str, Any]) -> None:
    decided = answer(dataclasses.replace(LIST, **change), ALL)
    assert (decided.decision, decided.reason) == ("deny", "policy_error")
    message = str(decided.message)
    assert message == "the question does not match the policy schema" or re.fullmatch(
        r"policy could not be evaluated \(\w*Error\)", message
    )


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("github"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ODD = st.fixed_dictionaries(
    {}, optional={field.name: ANYTHING for field in dataclasses.fields(PolicyQuestion)}
)
OPEN = bundle(ALL)


@settings(deadline=None)
@given(ODD)
@example({"facts": {"ticket": "x" * 100_000}})
@example({"agent": 'did"\\\n', "app": 'a"::\x00'})
def test_decide_returns_allow_or_deny_and_never_raises(change: dict[str, Any]) -> None:
    decided = decide(OPEN, dataclasses.replace(LIST, **change))
    assert decided.decision in ("allow", "deny")
    assert (decided.reason is None) == (decided.decision == "allow")


CONDITIONS = [
    "",
    'when { resource.owner == "acme" }',
    'when { resource.owner == "other" }',
    "unless { context.cosigned }",
    "when { context.cosigned }",
    f"when {{ {OVERFLOW} }}",
    f"when {{ context.cosigned && {OVERFLOW} }}",
]
SCOPES = ['action in Action::"/github/pr"', 'action == Action::"/github/issue/list"', "action"]


def written(effect: str, scope: str, condition: str) -> str:
    step_up = '@step_up("lead") ' if effect == "forbid" and "cosigned" in condition else ""
    return f"{step_up}{effect}(principal, {scope}, resource is Github) {condition};"


FORBIDS = st.builds(
    written, st.just("forbid"), st.sampled_from(SCOPES), st.sampled_from(CONDITIONS)
)
PERMITS = st.builds(
    written, st.just("permit"), st.sampled_from(SCOPES), st.sampled_from(CONDITIONS)
)
POLICIES = st.lists(FORBIDS | PERMITS, max_size=4)
QUESTIONS = st.sampled_from([LIST, CREATE])
ORDER = ("deny", "requires_step_up", "allow")


@settings(deadline=None)
@given(POLICIES, FORBIDS, QUESTIONS)
def test_adding_a_forbid_never_turns_a_deny_into_an_allow(
    policies: list[str], forbid: str, inquiry: PolicyQuestion
) -> None:
    if answer(inquiry, *policies).decision != "allow":
        assert answer(inquiry, *policies, forbid).decision != "allow"


@settings(deadline=None)
@given(POLICIES, FORBIDS, QUESTIONS)
def test_adding_a_forbid_only_restricts_unless_permits_read_approval(
    policies: list[str], forbid: str, inquiry: PolicyQuestion
) -> None:
    plain = [each for each in policies if "permit" not in each or "cosigned" not in each]
    before, after = answer(inquiry, *plain), answer(inquiry, *plain, forbid)
    assert ORDER.index(after.decision) <= ORDER.index(before.decision)


@settings(deadline=None)
@given(POLICIES, QUESTIONS)
def test_a_step_up_is_required_only_if_an_approval_leads_to_an_allow(
    policies: list[str], inquiry: PolicyQuestion
) -> None:
    if answer(inquiry, *policies).decision == "requires_step_up":
        without = [each for each in policies if "@step_up" not in each]
        cosigned = [each.replace("context.cosigned", "true") for each in without]
        assert answer(inquiry, *cosigned).decision == "allow"


@settings(deadline=None, max_examples=25)
@given(POLICIES)
def test_the_order_of_policies_does_not_matter(policies: list[str]) -> None:
    named = [f'@id("{place}") {policy}' for place, policy in enumerate(policies)]
    turned = itertools.islice(itertools.permutations(named), 6)
    assert len({answer(CREATE, *each) for each in turned}) == 1
