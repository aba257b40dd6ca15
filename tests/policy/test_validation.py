"""What the schema and the parser find is told with how to mend it, once."""

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


def test_a_field_that_is_optional_elsewhere_is_answered_with_where_it_always_is() -> None:
    found = message('forbid(principal, action, resource) when { resource.path == "x" };')
    assert '`action in Action::"/filesystem"` or `resource is Filesystem`' in found
    assert "… has … && …" in found


def test_a_policy_is_not_sent_to_a_provider_that_its_scope_rules_out() -> None:
    scope = 'principal, action in Action::"/github", resource'
    assert "Filesystem" not in message(f'forbid({scope}) when {{ resource.path == "x" }};')


def test_a_misspelt_field_is_answered_with_the_nearest_one() -> None:
    scope = "principal, action, resource is Github"
    found = message(f'forbid({scope}) when {{ resource.ownr == "acme" }};')
    assert found.endswith("`ownr` on entity type `Github` not found; did you mean `owner`?")
    far = message(f'forbid({scope}) when {{ resource.xyz == "acme" }};')
    assert far.endswith("`xyz` on entity type `Github` not found")


@pytest.mark.parametrize("name", ["/filesystem", "/github/issue"])
def test_a_group_that_is_taken_for_a_command_is_answered_with_in(name: str) -> None:
    found = message(f'forbid(principal, action == Action::"{name}", resource);')
    assert found.endswith(f'write `action in Action::"{name}"`')


def test_a_command_that_no_such_resource_is_of_is_no_group() -> None:
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
def test_a_missing_provider_is_told_and_not_what_follows_from_it(policy: str) -> None:
    assert message(policy).startswith(MISSING)


def test_other_unknown_commands_of_the_policy_are_told_beside_a_missing_provider() -> None:
    actions = '[Action::"/tickets/list", Action::"/github/issues/list"]'
    first, second = problems(f"forbid(principal, action in {actions}, resource);")
    assert first.message.startswith(MISSING)
    assert "did you mean /github/issue/list?" in second.message


def test_a_misspelt_provider_is_answered_with_the_nearest() -> None:
    found = message('forbid(principal, action == Action::"/gihub/issue/list", resource);')
    assert "no provider `gihub`; did you mean `github`? If not, its YAML" in found


def test_an_unknown_kind_of_resource_is_answered_with_those_there_are() -> None:
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
def test_what_other_languages_call_a_method_is_written_with_like(call: str, written: str) -> None:
    found = message(f"forbid(principal, action, resource is Filesystem) when {{ {call} }};")
    assert found.endswith(f"; write `{written}`")


def test_another_unknown_method_is_just_not_known() -> None:
    scope = "principal, action, resource is Filesystem"
    assert "write" not in message(f"forbid({scope}) when {{ resource.path.trim() }};")


@pytest.mark.parametrize("policy", ["permit(principal, action, resource is Nope);", "nonsense;"])
def test_a_place_is_told_once(policy: str) -> None:
    [first] = problems(policy)
    [second] = problems(f"{ANY} {policy}")
    assert str(first) == f"<policies>:1: {first.message}"
    assert str(second) == f"<policies>:1: column 38: {second.message}"
    [named] = problems(f'{ANY} @id("x") {policy}')
    assert str(named) == f"<policies>:1: x: {named.message}"
