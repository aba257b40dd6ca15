"""Rendered expressions are parsed back equal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from long_runs import times

from nomos.policy.bundle import Source, load
from nomos.policy.conditions import body_of
from nomos.policy.explain import explain
from nomos.policy.policy_request import parse
from nomos.policy.render import render
from nomos.server.providers.catalog import load_catalog


def parsed(text: str) -> Any:
    [condition] = body_of(f"permit(principal, action, resource) when {{ {text} }};")["conditions"]
    return condition["body"]


@pytest.mark.parametrize(
    "text",
    [
        'resource.owner == "acme"',
        "context.now.hour >= 7 && context.now.hour < 19 || context.cosigned",
        "context.a && (context.b || context.c) && !(context.d || context.e)",
        "!context.argsBound",
        "context.rate - 1 - (2 - 3) + 4 * 5 * (6 + 7) > -1",
        'context["agent"]["te am"] == "x"',
        'context.agent has "te am"',
        "context.agent has ticket",
        'resource.repo like "te\\*am-*\\"\\\\*"',
        "resource is Github",
        'resource is Github in App::"a\\"b"',
        'principal in [App::"a", App::"b"]',
        '["a", "b"].contains(context.purpose)',
        'principal.invokedBy.containsAny(["x"]) == true',
        "if context.argsBound then true else false",
        "(if context.argsBound then 1 else 2) == 1",
        '{a: 1, "b c": {d: true}}.a == 1',
        'ip("1.1.1.1").isLoopback()',
        "principal.invokedBy.isEmpty()",
        'context.purpose == "tab\\u{9} and \\u{1f600}"',
        "(context.a == context.b) == context.c",
        "-context.rate == 1",
    ],
)
def test_a_rendered_condition_has_the_same_meaning(text: str) -> None:
    assert parsed(render(parsed(text))) == parsed(text)


def test_only_necessary_brackets_are_written() -> None:
    for text in (
        "context.a && (context.b || context.c) && !(context.d || context.e)",
        'resource has repo && resource.repo like "a-*"',
        "context.now.hour + 1 >= 7 && context.now.hour < 19 || context.cosigned",
    ):
        assert render(parsed(text)) == text


def _binary(parts: st.SearchStrategy[Any], operator: str) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({operator: st.fixed_dictionaries({"left": parts, "right": parts})})


def _grown(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["owner", "te am", "if", "_x", 'a"b\\'])
    pieces = st.lists(
        st.just("Wildcard") | st.fixed_dictionaries({"Literal": st.sampled_from('ab*\\"\n')}),
        min_size=1,
        max_size=4,
    )
    operators = ["||", "&&", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*"]
    binary = st.one_of(
        [_binary(parts, each) for each in [*operators, "contains", "containsAll", "containsAny"]]
    )
    others = st.one_of(
        st.builds(lambda left, attr: {".": {"left": left, "attr": attr}}, parts, names),
        st.builds(lambda left, attr: {"has": {"left": left, "attr": attr}}, parts, names),
        st.builds(lambda left, like: {"like": {"left": left, "pattern": like}}, parts, pieces),
        st.builds(lambda left: {"is": {"left": left, "entity_type": "Github"}}, parts),
        st.builds(lambda arg: {"!": {"arg": arg}}, parts),
        st.builds(
            lambda one, two, three: {"if-then-else": {"if": one, "then": two, "else": three}},
            parts,
            parts,
            parts,
        ),
        st.builds(lambda items: {"Set": items}, st.lists(parts, max_size=3)),
    )
    return binary | others


LEAVES = st.sampled_from(
    [
        {"Var": "resource"},
        {"Var": "context"},
        {"Value": True},
        {"Value": -3},
        {"Value": 9223372036854775807},
        {"Value": 'quoted "text"\n'},
        {"Value": {"__entity": {"type": "App", "id": "a b"}}},
    ]
)


@settings(max_examples=times(300, short=100), deadline=None)
@given(st.recursive(LEAVES, _grown, max_leaves=12))
def test_any_expression_is_parsed_back_equal(node: Any) -> None:
    assert parsed(render(node)) == node


@pytest.mark.parametrize("operator", ["||", "&&"])
def test_the_length_of_a_chain_does_not_matter(operator: str) -> None:
    chain = f" {operator} ".join(["context.rate == 1"] * 400)
    assert render(parsed(chain)) == chain


def test_a_policy_nested_without_end_is_explained_without_its_conditions() -> None:
    choice = "if context.rate == 1 then true else " * 200 + "false"
    text = f'@id("deep") permit(principal, action, resource) when {{ {choice} }};'
    policies = load([Source("p", text)], load_catalog())
    resource = {"provider": "github", "owner": "acme", "repo": "app"}
    question = parse({"command": "/github/issue/list", "resource": resource, "rate": 1})
    explanation = explain(policies, question.inquiry(policies.catalog))
    assert explanation.verdict.decision == "allow"
    [look] = explanation.looks
    assert (look.state, look.conditions) == ("holds", ())
