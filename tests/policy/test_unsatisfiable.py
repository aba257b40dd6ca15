"""Warnings for conditions that can never hold."""

from __future__ import annotations

import pytest

from nomos.policy.bundle import Bundle, Source, load
from nomos.server.providers.catalog import load_catalog

CATALOG = load_catalog()
DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
APP = f"app_{'0' * 26}"


def warned(text: str) -> list[str]:
    bundle: Bundle = load((Source("p.cedar", text),), CATALOG)
    return [each.message for each in bundle.warnings]


def when(condition: str) -> list[str]:
    return warned(f"forbid(principal, action, resource is Github) when {{ {condition} }};")


NEVER = {
    'principal in App::"my-agent"': 'no app is App::"my-agent"',
    'principal in [App::"my-agent"]': 'no app is App::"my-agent"',
    'principal == Agent::"alice"': 'no agent is Agent::"alice"',
    'principal in [Agent::"bob"]': 'no agent is Agent::"bob"',
    'principal.rootAgent == "alice"': 'principal.rootAgent never has "alice"',
    'principal.invokedBy.contains("alice")': 'principal.invokedBy never has "alice"',
    'principal.swarmId == "release"': "principal.swarmId is never",
    f'context.purpose == "{"x" * 281}"': "context.purpose is never so long",
    "context.now.dayOfWeek == 0": "context.now.dayOfWeek == 0 never holds: it is 1 to 7",
    "0 == context.now.dayOfWeek": "context.now.dayOfWeek == 0 never holds",
    "context.now.dayOfWeek > 7": "context.now.dayOfWeek > 7 never holds",
    "context.now.dayOfWeek < 1": "context.now.dayOfWeek < 1 never holds",
    "[0, 8].contains(context.now.dayOfWeek)": "context.now.dayOfWeek == 8 never holds",
    "context.now.hour == 24": "context.now.hour == 24 never holds: it is 0 to 23",
    "24 <= context.now.hour": "context.now.hour >= 24 never holds",
    "context.now.epoch < 0": "context.now.epoch < 0 never holds: it is at least 0",
    "context.rate <= -1": "context.rate <= -1 never holds",
    "principal.delegationDepth == -1": "principal.delegationDepth == -1 never holds",
    "principal.delegationDepth > 1000": "principal.delegationDepth > 1000 never holds",
    "resource has issue_number && resource.issue_number < 0": "resource.issue_number < 0 never",
    'principal.invokedBy.containsAny(["alice", "bob"])': 'principal.invokedBy never has "bob"',
    'resource.hasTag("a")': "nothing has tags",
    'resource.owner == "a" && context.rate > 1 && "b" == resource.owner': (
        'resource.owner is never both "a" and "b": join the two comparisons with `||`'
    ),
    "context.cosigned == true && context.cosigned == false": "is never both false and true",
    "context.now.hour == 1 && context.now.hour == 2": "context.now.hour is never both 1 and 2",
}


@pytest.mark.parametrize("condition", NEVER)
def test_an_unsatisfiable_condition_has_a_warning(condition: str) -> None:
    found = when(condition)
    assert any(NEVER[condition] in each for each in found), found


CAN = (
    f'principal in App::"{APP}"',
    f'principal == Agent::"{DID}"',
    f'principal.rootAgent == "{DID}"',
    f'principal.invokedBy.contains("{DID}")',
    f'principal.swarmId == "{APP}/release"',
    'principal.swarmId == ""',
    'principal.swarmId like "release*"',
    'context.purpose == "tidy up"',
    "context.now.dayOfWeek == 1 || context.now.dayOfWeek == 7",
    "context.now.dayOfWeek <= 5 && context.now.hour >= 7 && context.now.hour < 19",
    "context.now.hour > 22",
    "context.rate >= 5 && principal.delegationDepth == 0",
    "resource has issue_number && resource.issue_number == 7",
    "context.cosigned == true",
    f'principal.invokedBy.containsAll(["{DID}"])',
    "principal.invokedBy.contains(principal.rootAgent)",
    "context.rate == context.now.hour",
    "1 == 1",
    "[1].contains(1)",
    "context.rate != 0",
    'resource.owner == "a" || resource.owner == "b"',
    'resource.owner == "a" && resource.owner == "a"',
    'resource.owner == "a" && !(resource.owner == "b")',
    'resource.owner == "a" && resource.repo == "b"',
    '(resource.owner == "a" && context.rate > 1) || resource.owner == "b"',
)


@pytest.mark.parametrize("condition", CAN)
def test_a_satisfiable_condition_has_no_warning(condition: str) -> None:
    assert when(condition) == []


def test_the_scope_names_apps_and_agents_too() -> None:
    for scope, says in {
        'principal == Agent::"alice"': "no agent is",
        'principal in App::"my-agent"': "no app is",
        'principal is Agent in App::"my-agent"': "no app is",
    }.items():
        [found] = warned(f"permit({scope}, action, resource);")
        assert says in found
    assert warned(f'permit(principal == Agent::"{DID}", action, resource);') == []


def test_a_policy_without_a_possible_resource_has_a_warning() -> None:
    action = 'action == Action::"/github/issue/list"'
    [found] = warned(f"permit(principal, {action}, resource) when {{ resource is Filesystem }};")
    assert found == (
        "no resource is Filesystem here: it must be of the action's provider, and of one type"
    )
    assert len(when("resource is Filesystem")) == 1
    assert warned(f"permit(principal, {action}, resource) when {{ resource is Github }};") == []
    either = "resource is Filesystem || resource is Github"
    assert warned(f"permit(principal, action, resource) when {{ {either} }};") == []
    assert (
        warned(f"permit(principal, {action}, resource) unless {{ resource is Filesystem }};") == []
    )


def test_warnings_are_short_and_printable() -> None:
    text = "a" * 100
    [found] = warned(f'permit(principal in App::"{text}\\u{{7}}", action, resource);')
    assert len(found) < 160
    [found] = warned('permit(principal in App::"x\\u{7}", action, resource);')
    assert 'App::"x?"' in found


@pytest.mark.parametrize("text", ["", "  \n", "// nothing yet\n"])
def test_no_policies_have_a_warning(text: str) -> None:
    assert warned(text) == ["there are no policies, so every question is denied"]


def test_no_sources_have_a_warning() -> None:
    [found] = load((), CATALOG).warnings
    assert found.message == "there are no policies, so every question is denied"


def test_a_warning_names_its_policy_and_place() -> None:
    text = (
        "permit(principal, action, resource);\n"
        '@id("x") permit(principal in App::"y", action, resource);'
    )
    [found] = load((Source("p.cedar", text),), CATALOG).warnings
    assert (found.file, found.line, found.policy) == ("p.cedar", 2, "x")
