"""Policies evaluated with what a grant leaves open, and whether the grant is closed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nomos.policy import grant_closure, partial, terms
from nomos.policy.bundle import Source, load
from nomos.policy.decision import Closure, Open, PolicyQuestion
from nomos.policy.grant_closure import GrantedCalls, closure
from nomos.policy.partial import applies
from nomos.policy.terms import Attribute, Term, World
from nomos.resources import CommandSpec, Provider, ResourceField

AGENT = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
QUEUE, NUMBER, PATH = (frozenset({f"resource.{name}"}) for name in ("queue", "number", "path"))
ALL = QUEUE | NUMBER | PATH


def world(**changes: Any) -> World:
    """A call of which the queue and the number are open, and whose path is under `a`."""
    resource = Term(
        None,
        ALL,
        members={
            "queue": Attribute(terms.unknown(QUEUE)),
            "number": Attribute(terms.unknown(NUMBER), None),
            "path": Attribute(Term(None, PATH, folder="a")),
            "label": Attribute(terms.known("x")),
            "size": Attribute(terms.known(3)),
            "gone": Attribute(terms.unknown(terms.NOTHING), sure=False),
        },
        kind="Desk",
        above=frozenset(),
    )
    return World(
        principal=Term(
            terms.entity("Agent", AGENT),
            members={"invokedBy": Attribute(terms.known(["b", "c"]))},
            kind="Agent",
            above=frozenset({terms.entity("App", "one")}),
        ),
        action=Term(
            terms.entity("Action", "/desk/read"),
            kind="Action",
            above=frozenset({terms.entity("Action", "/desk")}),
        ),
        resource=changes.get("resource", resource),
        context=Term(
            members={
                "rate": Attribute(terms.known(2)),
                "agent": Attribute(terms.known({"team": "blue"})),
                "now": Attribute(terms.known({"hour": 9, "days": [1, 2]})),
            }
        ),
        open=ALL,
    )


HOLDS = {
    "true": (True, ""),
    'resource.label == "x"': (True, ""),
    'resource.label != "x"': (False, ""),
    'resource["label"] == "x" && true': (True, ""),
    'resource.queue == "hr"': (None, "queue"),
    'resource.queue != "hr"': (None, "queue"),
    'resource.label == "y" && resource.queue == "hr"': (False, ""),
    'resource.queue == "hr" && resource.label == "y"': (False, "queue"),
    'resource.label == "x" || resource.queue == "hr"': (True, ""),
    'resource.queue == "hr" || resource.label == "x"': (True, "queue"),
    'resource.label == "y" || resource.label == "z"': (False, ""),
    'resource.queue == "a" || resource.queue == "b"': (None, "queue"),
    '!(resource.queue == "hr")': (None, "queue"),
    '!(resource.label == "x")': (False, ""),
    "resource has label": (True, ""),
    "resource has gone": (False, ""),
    "resource has other": (False, ""),
    "resource has number": (None, "number"),
    "resource has number && resource.number > 3": (None, "number"),
    "resource has gone && resource.gone > 3": (False, ""),
    "resource.size > 2 && resource.size >= 3 && resource.size < 4 && resource.size <= 3": (
        True,
        "",
    ),
    "3 < resource.size": (False, ""),
    "resource.size + 1 == 4 && resource.size * 2 - 1 == 5 && -resource.size == -3": (True, ""),
    'context.rate == 2 && context.agent.team == "blue"': (True, ""),
    "context.agent has team": (True, ""),
    "context.agent has other": (False, ""),
    "context.now.days.contains(1)": (True, ""),
    "context.now.days.containsAll([1, 2]) && context.now.days.containsAny([2, 9])": (True, ""),
    "context.now.days.containsAll([3])": (False, ""),
    "[1].isEmpty()": (False, ""),
    '[].isEmpty() && principal.invokedBy.contains("b")': (True, ""),
    '["a", "b"].contains(resource.queue)': (None, "queue"),
    '["a", "b"].contains(resource.label)': (False, ""),
    '["x", "b"].contains(resource.label)': (True, ""),
    '[resource.queue, "b"].contains("b")': (None, "queue"),
    '[resource.queue].containsAll(["b"])': (None, "queue"),
    '["b"].containsAny([resource.queue])': (None, "queue"),
    "[resource.queue].isEmpty()": (None, "queue"),
    'resource.path == "a/b"': (None, "path"),
    'resource.path == "b"': (False, "path"),
    'resource.path == "a"': (False, "path"),
    '"a/b" == resource.path': (None, "path"),
    'resource.path like "a/*"': (True, "path"),
    'resource.path like "a*"': (True, "path"),
    'resource.path like "*"': (True, "path"),
    'resource.path like "a/b/*"': (None, "path"),
    'resource.path like "b/*"': (False, "path"),
    'resource.path like "*.md"': (None, "path"),
    'resource.path like "a/b"': (None, "path"),
    'resource.path like "b"': (False, "path"),
    'resource.path like ""': (False, "path"),
    'resource.label like "x*" && !(resource.label like "y*")': (True, ""),
    'resource.label like "*x" && !(resource.label like "*xx") && !(resource.label like "")': (
        True,
        "",
    ),
    '"abcbd" like "a*b*d" && !("abcb" like "a*bd") && "*" like "\\*" && "" like "*"': (True, ""),
    'resource.queue like "h*"': (None, "queue"),
    '["a", "b"].contains(resource.path)': (False, "path"),
    '["a/x", "b"].contains(resource.path)': (None, "path"),
    "resource is Desk": (True, ""),
    "resource is Agent": (False, ""),
    'resource is Desk in Desk::"x"': (None, "queue number path"),
    'resource is Agent in Agent::"x"': (False, ""),
    'resource == Desk::"x"': (None, "queue number path"),
    'resource == Agent::"x"': (False, "queue number path"),
    'resource in Agent::"x"': (False, "queue number path"),
    "resource == principal": (False, "queue number path"),
    'principal == Agent::"b"': (False, ""),
    f'principal == Agent::"{AGENT}"': (True, ""),
    'principal in App::"one"': (True, ""),
    'principal in App::"two"': (False, ""),
    'principal in [App::"two", App::"one"]': (True, ""),
    'principal in [App::"two"]': (False, ""),
    'action in Action::"/desk"': (True, ""),
    'action == Action::"/desk"': (False, ""),
    'Action::"/a" in Action::"/a"': (True, ""),
    'Action::"/a" in Action::"/b"': (None, ""),
    'if resource.label == "x" then resource.queue == "a" else true': (None, "queue"),
    'if resource.label == "y" then resource.queue == "a" else true': (True, ""),
    'if resource.queue == "a" then true else true': (True, "queue"),
    'if resource.queue == "a" then true else false': (None, "queue"),
    '(if resource.queue == "a" then {t: 1} else {t: 2}).t == 1': (None, "queue"),
    '(if resource.queue == "a" then {t: 1} else {t: 2}) has t': (None, "queue"),
    '{q: resource.queue, l: resource.label}.l == "x"': (True, ""),
    '{q: resource.queue}.q == "x"': (None, "queue"),
    "{q: resource.queue} has q": (True, "queue"),
    '{q: resource.queue} == {q: "a"}': (None, "queue"),
    '{l: resource.label} == {l: "x"}': (True, ""),
    "[resource].contains(resource)": (None, "queue number path"),
    "true == true && !(1 == 2)": (True, ""),
    'resource in [Desk::"x", Desk::"y"]': (None, "queue number path"),
    'principal in (if resource.queue == "a" then App::"one" else App::"two")': (None, "queue"),
}


@pytest.mark.parametrize("text", HOLDS)
def test_a_condition_is_true_false_or_unknown(text: str) -> None:
    holds, fields = HOLDS[text]
    term = applies(f"permit(principal, action, resource) when {{ {text} }};", world())
    assert term.holds is holds
    assert {each.removeprefix("resource.") for each in term.fields} == set(fields.split())
    assert not term.fails or holds is None


FAILS = {
    "resource.size + 9223372036854775807 > 0": "",
    "9223372036854775807 + 1 > 0 || true": "",
    "resource.number + 1 > 0": "number",
    "{n: resource.number + 1, m: 1}.m == 1": "number",
    "{n: resource.number + 1, m: 1} has m": "number",
    "-resource.number > 0": "number",
    "resource.gone == 1": "queue number path",
    "{a: 1}.b == 1": "",
    '(if resource.queue == "a" then 1 else resource.number + 1) > 0': "queue number",
    'ip("10.0.0.1").isLoopback()': "",
    "ip(resource.queue).isLoopback()": "queue",
    'resource.hasTag("a")': "queue number path",
    'context.agent.other == "x"': "queue number path",
    'decimal("1.0") < decimal("2.0")': "",
    '"a" < "b"': "",
}


@pytest.mark.parametrize("text", FAILS)
def test_failing_or_unsupported_expressions_are_unknown(text: str) -> None:
    term = applies(f"permit(principal, action, resource) when {{ {text} }};", world())
    assert term.fails or term.holds is None
    assert {each.removeprefix("resource.") for each in term.fields} >= set(FAILS[text].split())


def test_a_scope_is_evaluated_as_conditions_are() -> None:
    for scope, holds in {
        'principal, action == Action::"/desk/read", resource is Desk': True,
        'principal in App::"one", action in [Action::"/desk"], resource': True,
        'principal, action == Action::"/desk/write", resource': False,
        'principal, action, resource == Desk::"x"': None,
    }.items():
        assert applies(f"forbid({scope});", world()).holds is holds


def test_a_policy_nested_too_deep_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deep(_: str) -> None:
        raise RecursionError

    monkeypatch.setattr(partial, "partially_evaluated", deep)
    term = applies("permit(principal, action, resource);", world())
    assert (term.holds, term.fails, term.fields) == (None, True, ALL)


def test_only_values_of_cedar_are_frozen() -> None:
    with pytest.raises(TypeError, match="float is not a Cedar value"):
        terms.freeze(1.5)


# Grants

PROVIDER = Provider(
    name="desk",
    kind="Desk",
    fields={
        "queue": ResourceField(required=True),
        "number": ResourceField(type="integer"),
        "path": ResourceField(type="path"),
        "tag": ResourceField(),
    },
    commands={
        each.name: each
        for each in (
            CommandSpec(name="/desk/read", risk="read", resource=("queue",), optional=("number",)),
            CommandSpec(name="/desk/file", risk="read", resource=("path",), optional=("tag",)),
        )
    },
)


def looked(
    policies: str, grant: GrantedCalls, *, cosigned: bool = False, **changes: Any
) -> Closure:
    bundle = load((Source("p.cedar", policies),), {"desk": PROVIDER}, {"team": "String"})
    inquiry = PolicyQuestion(
        **{
            "agent": AGENT,
            "app": "app_1",
            "command": grant.commands[0] if grant.commands else "/desk",
            "provider": "desk",
            "resource": grant.resource,
            "args_bound": True,
            "now": 1_800_000_000,
            "facts": {"team": "blue"},
            **changes,
        }
    )
    return closure(bundle, inquiry, grant, cosigned=cosigned)


ANY = '@id("all") permit(principal, action, resource);'
LEAF = GrantedCalls(("/desk/read",), {"provider": "desk", "queue": "a"})
OPENED = GrantedCalls(
    ("/desk/file", "/desk/read"), {"provider": "desk"}, frozenset({"queue", "number", "path"})
)
FOLDER = GrantedCalls(("/desk/file",), {"provider": "desk", "path": "a"}, folder=True)


def test_a_grant_that_fixes_every_field_is_closed() -> None:
    assert looked(ANY, LEAF) == Closure(closed=True, forkable=True)
    assert looked(ANY + 'forbid(principal, action, resource) when { resource.queue == "b" };', LEAF)
    assert looked(ANY, OPENED).closed and looked(ANY, FOLDER).closed


def test_a_grant_of_nothing_is_not_closed() -> None:
    assert not looked(ANY, GrantedCalls((), {"provider": "desk"})).closed


def test_a_grant_without_a_permit_is_not_closed() -> None:
    found = looked(
        '@id("b") permit(principal, action, resource) when {resource.queue == "b"};', LEAF
    )
    assert found == Closure(closed=False)
    text = '@id("b") permit(principal, action, resource) when { resource.queue == "b" };'
    found = looked(text, OPENED)
    assert found.open == (Open("b", "resource.queue"),)
    # A permit that surely does not hold is named when no other could.
    text = (
        '@id("p") permit(principal, action, resource) '
        'when { resource has path && resource.path == "a" };'
    )
    assert looked(text, FOLDER).open == (Open("p", "resource.path"),)


def test_a_permit_of_a_folder_and_its_contents_covers_the_folder() -> None:
    text = (
        "permit(principal, action, resource) when "
        '{ resource has path && (resource.path == "a" || resource.path like "a/*") };'
    )
    assert looked(text, FOLDER).closed
    split = (
        "permit(principal, action, resource) "
        'when { resource has path && resource.path == "a" };'
        "permit(principal, action, resource) "
        'when { resource has path && resource.path like "a/*" };'
    )
    assert looked(split, FOLDER).closed
    root = GrantedCalls(("/desk/file",), {"provider": "desk", "path": ""}, folder=True)
    assert not looked(text, root).closed and looked(ANY, root).closed


def test_a_forbid_without_an_open_field_is_named() -> None:
    found = looked(ANY + '@id("no") forbid(principal, action, resource);', LEAF)
    assert found == Closure(closed=False, policies=("no",))


def test_open_arguments_are_named() -> None:
    text = ANY + '@id("bound") forbid(principal, action, resource) when { context.argsBound };'
    assert looked(text, LEAF, args_bound=False).open == (Open("bound", "args"),)
    assert not looked(text, LEAF).closed


def test_an_approved_grant_is_evaluated_as_approved() -> None:
    text = ANY + (
        '@id("ask") @step_up("lead") forbid(principal, action, resource) '
        "unless { context.cosigned };"
    )
    assert not looked(text, LEAF).closed
    assert looked(text, LEAF, cosigned=True).closed


APART = {
    "principal.delegationDepth == 0": False,
    f'principal == Agent::"{AGENT}"': False,
    "principal.invokedBy.isEmpty()": False,
    'principal.swarmId == ""': False,
    "[principal].contains(principal)": False,
    f'principal.rootAgent == "{AGENT}"': True,
    'principal in App::"app_1"': True,
    "principal is Agent": True,
    'context.agent has team && context.agent.team == "blue"': True,
}


@pytest.mark.parametrize("text", APART)
def test_a_grant_is_forkable_unless_policy_distinguishes_principals(text: str) -> None:
    found = looked(f'@id("apart") permit(principal, action, resource) when {{ {text} }};', LEAF)
    assert found.closed and found.forkable is APART[text]
    assert found.policies == (() if APART[text] else ("apart",))


def test_unsupported_expressions_without_open_fields_are_evaluated_by_cedar() -> None:
    odd = 'ip("10.0.0.1").isInRange(ip("10.0.0.0/8"))'
    assert looked(f"permit(principal, action, resource) when {{ {odd} }};", OPENED).closed
    assert not looked(f"permit(principal, action, resource) when {{ !{odd} }};", OPENED).closed
    failing = "context.rate + 9223372036854775807 > 0 && context.rate - 1 < 0"
    text = f'{ANY} @id("f") forbid(principal, action, resource) when {{ {failing} }};'
    found = looked(text, LEAF, rate=1)
    assert (found.closed, found.policies) == (False, ("f",))


def test_a_required_field_that_no_command_has_is_empty() -> None:
    text = 'permit(principal, action, resource) when { resource.queue == "" };'
    assert looked(text, FOLDER).closed


def test_policies_about_other_commands_are_ignored() -> None:
    every = ANY + "".join(
        f'@id("{name}") forbid(principal, {scope}, resource) when {{ resource.queue == "b" }};'
        for name, scope in (
            ("one", 'action == Action::"/desk/file"'),
            ("some", 'action in [Action::"/desk/file", Action::"/desk/other"]'),
            ("group", 'action in Action::"/desk/file"'),
        )
    ).replace(', Action::"/desk/other"', "")
    read = replace(OPENED, commands=("/desk/read",))
    assert looked(every, read).closed
    found = looked(every, OPENED)
    assert found.policies == ("group", "one", "some")
    text = ANY + (
        '@id("bound") forbid(principal, action, resource) '
        'when { action == Action::"/desk/file" && resource.queue == "b" };'
    )
    assert looked(text, read).closed and not looked(text, OPENED).closed


def test_each_command_needs_a_permit_of_its_own() -> None:
    text = (
        '@id("read") permit(principal, action == Action::"/desk/read", resource);'
        '@id("file") permit(principal, action in Action::"/desk", resource) '
        'when { resource.queue == "a" };'
    )
    assert looked(text, replace(OPENED, commands=("/desk/read",))).closed
    assert looked(text, OPENED).open == (Open("file", "resource.queue"),)


def test_the_number_of_named_fields_is_bounded() -> None:
    many = "".join(
        f'@id("p{n:03}") forbid(principal, action, resource) when {{ resource.queue == "{n}" }};'
        for n in range(grant_closure.MAX_OPEN + 5)
    )
    found = looked(ANY + many, OPENED)
    assert len(found.open) == len(found.policies) == grant_closure.MAX_OPEN
