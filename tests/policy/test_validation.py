"""Validation errors of schema and parser, each with a correction and once."""

from __future__ import annotations

import pytest

from nomos.errors import InvalidPolicy, PolicyProblem
from nomos.policy.bundle import Source, load
from nomos.server.providers.catalog import load_catalog

CATALOG = load_catalog()
ANY = "permit(principal, action, resource);"
MISSING = "there is no provider `tickets`; its YAML is passed with --providers"


def problems(text: str) -> tuple[PolicyProblem, ...]:
    with pytest.raises(InvalidPolicy) as caught:
        load([Source("<policies>", text)], CATALOG)
    return caught.value.problems


def message(text: str) -> str:
    [found] = problems(text)
    return found.message


def test_an_optional_field_names_the_commands_that_require_it() -> None:
    found = message('forbid(principal, action, resource) when { resource.path == "x" };')
    assert '`action in Action::"/filesystem"` or `resource is Filesystem`' in found
    assert "… has … && …" in found


def test_a_provider_outside_of_the_scope_is_not_suggested() -> None:
    scope = 'principal, action in Action::"/github", resource'
    assert "Filesystem" not in message(f'forbid({scope}) when {{ resource.path == "x" }};')


def test_a_misspelt_field_has_a_suggestion() -> None:
    scope = "principal, action, resource is Github"
    found = message(f'forbid({scope}) when {{ resource.ownr == "acme" }};')
    assert found.endswith("`ownr` on entity type `Github` not found; did you mean `owner`?")
    far = message(f'forbid({scope}) when {{ resource.xyz == "acme" }};')
    assert far.endswith("`xyz` on entity type `Github` not found")


@pytest.mark.parametrize("name", ["/filesystem", "/github/issue"])
def test_a_group_compared_with_equality_suggests_in(name: str) -> None:
    found = message(f'forbid(principal, action == Action::"{name}", resource);')
    assert found.endswith(f'write `action in Action::"{name}"`')


def test_a_command_without_such_a_resource_is_not_called_a_group() -> None:
    scope = 'principal, action == Action::"/github/issue/list", resource is Filesystem'
    assert "write" not in message(f"forbid({scope});")


@pytest.mark.parametrize(
    "policy",
    [
        'forbid(principal, action == Action::"/tickets/list", resource);',
        'forbid(principal, action in Action::"/tickets", resource);',
        'forbid(principal, action in Action::"/tickets", resource is Tickets) when { true };',
        'forbid(principal, action in [Action::"/tickets"], resource) when { resource has due };',
        'forbid(principal, action, resource) when { action in Action::"/tickets/list" };',
    ],
)
def test_a_missing_provider_is_reported_without_consequential_errors(policy: str) -> None:
    assert message(policy).startswith(MISSING)


def test_other_unknown_commands_are_reported_beside_a_missing_provider() -> None:
    actions = '[Action::"/tickets/list", Action::"/github/issues/list"]'
    first, second = problems(f"forbid(principal, action in {actions}, resource);")
    assert first.message.startswith(MISSING)
    assert "did you mean /github/issue/list?" in second.message


def test_a_misspelt_provider_has_a_suggestion() -> None:
    found = message('forbid(principal, action == Action::"/gihub/issue/list", resource);')
    assert "no provider `gihub`; did you mean `github`? If not, its YAML" in found


def test_an_unknown_resource_type_lists_the_known_ones() -> None:
    found = message("forbid(principal, action, resource is Tickets);")
    assert "resources are Filesystem or Github" in found
    assert "--providers" in found


@pytest.mark.parametrize(
    ("call", "written"),
    [
        ('resource.path.startsWith("x")', 'like "x*"'),
        ('resource.path.endsWith( ".md" )', 'like "*.md"'),
        ('resource.path.starts_with("x")', 'like "x*"'),
        ('startsWith(resource.path, "x")', 'like "…*"'),
        ("resource.path.endsWith(context.purpose)", 'like "*…"'),
    ],
)
def test_string_methods_of_other_languages_suggest_like(call: str, written: str) -> None:
    found = message(f"forbid(principal, action, resource is Filesystem) when {{ {call} }};")
    assert found.endswith(f"; write `{written}`")


def test_another_unknown_method_has_no_suggestion() -> None:
    scope = "principal, action, resource is Filesystem"
    assert "write" not in message(f"forbid({scope}) when {{ resource.path.trim() }};")


@pytest.mark.parametrize("policy", ["permit(principal, action, resource is Nope);", "nonsense;"])
def test_a_place_is_named_once(policy: str) -> None:
    [first] = problems(policy)
    [second] = problems(f"{ANY} {policy}")
    assert str(first) == f"<policies>:1: {first.message}"
    assert str(second) == f"<policies>:1: column 38: {second.message}"
    [named] = problems(f'{ANY} @id("x") {policy}')
    assert str(named) == f"<policies>:1: x: {named.message}"
