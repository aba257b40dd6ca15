"""The generated schema: Cedar accepts it, and policies can rely on it."""

from __future__ import annotations

import pytest
from cedarpy import Schema, validate_policies

from nomos.errors import ConfigurationError
from nomos.policy.schema import FACT_TYPES, RESERVED_KINDS, attributes, generate
from nomos.resources import FILESYSTEM, GITHUB, CommandSpec, Provider, ResourceField

COMMANDS = ("/github/issue/comment", "/github/issue/comment/list", "/github/user/read")
CATALOG = {
    "github": GITHUB.model_copy(
        update={"commands": {name: CommandSpec(name=name, risk="read") for name in COMMANDS}}
    ),
    "filesystem": FILESYSTEM,
}


def valid(policy: str, **facts: str) -> bool:
    schema = Schema.from_str(generate(CATALOG, facts))
    return bool(validate_policies(policy, schema))


def when(condition: str) -> str:
    return f'permit(principal, action in Action::"/github", resource) when {{ {condition} }};'


@pytest.mark.parametrize("name", [*COMMANDS, "/github/issue", "/github"])
def test_commands_and_their_prefixes_are_actions(name: str) -> None:
    assert valid(f'permit(principal, action in Action::"{name}", resource);')


def test_other_names_are_not() -> None:
    assert not valid('permit(principal, action in Action::"/github/pr", resource);')


def test_a_prefix_is_no_command() -> None:
    assert not valid('permit(principal, action == Action::"/github/issue", resource);')


@pytest.mark.parametrize(
    "condition",
    [
        'principal in App::"a" && principal.delegationDepth < 3',
        'principal.rootAgent == "did" && principal.invokedBy.contains("did")',
        'principal.swarmId == ""',
        "context.cosigned || context.cosigner || context.argsBound",
        "context.now.epoch > 0 && context.now.hour < 18 && context.now.dayOfWeek <= 5",
        'context.purpose like "*triage*" && context.rate < 10',
        'resource.owner == "acme" && resource.repo == "app"',
        "resource has issue_number && resource.issue_number == 7",
        'resource has path && resource.path like "docs/*"',
    ],
)
def test_policy_can_read(condition: str) -> None:
    assert valid(when(condition))


@pytest.mark.parametrize(
    "condition",
    [
        "resource.issue_number == 7",
        "context.agent.ticket == 7",
        "context.ip == 7",
        "context.rate == true",
        "resource.owner == 7",
        "principal.name == 7",
    ],
)
def test_policy_cannot_read_optional_attributes_without_a_test(condition: str) -> None:
    assert not valid(when(condition))


@pytest.mark.parametrize(
    ("kind", "condition"),
    [
        ("String", 'context.agent.fact == "a"'),
        ("Long", "context.agent.fact < 7"),
        ("Bool", "context.agent.fact"),
        ("Set<String>", 'context.agent.fact.contains("a")'),
    ],
)
def test_a_declared_fact_is_optional_and_typed(kind: str, condition: str) -> None:
    assert kind in FACT_TYPES
    assert valid(when(f"context.agent has fact && {condition}"), fact=kind)
    assert not valid(when(condition), fact=kind)


@pytest.mark.parametrize("name", ["", "a b", "1a", 'a"', "a-b", "x" * 65])
def test_a_fact_s_name_is_an_identifier(name: str) -> None:
    with pytest.raises(ConfigurationError, match="letters, digits") as caught:
        generate(CATALOG, {name: "String"})
    assert caught.value.setting == "facts"


def test_a_fact_s_type_is_one_of_four() -> None:
    with pytest.raises(ConfigurationError, match="Set<String>") as caught:
        generate(CATALOG, {"fact": "Decimal"})
    assert caught.value.setting == "facts"


def test_two_providers_cannot_share_an_entity_type() -> None:
    second = Provider(name="git-hub", kind="Github", fields={})
    with pytest.raises(ConfigurationError, match=r"provider github: .*Github.*provider git-hub"):
        generate({**CATALOG, "git-hub": second})


@pytest.mark.parametrize("kind", sorted(RESERVED_KINDS))
def test_a_provider_name_that_policy_uses_is_refused(kind: str) -> None:
    with pytest.raises(ConfigurationError, match="rename the provider"):
        generate({"x": Provider(name="x", kind=kind, fields={})})


def test_an_empty_catalog_has_a_schema() -> None:
    schema = Schema.from_str(generate({}))
    assert not validate_policies('permit(principal, action == Action::"/x", resource);', schema)


def test_fields_with_the_names_of_cedar_s_words_are_fields() -> None:
    fields = {name: ResourceField(required=True) for name in ("in", "has", "if", "principal")}
    command = CommandSpec(name="/x/y", risk="read")
    provider = Provider(name="x", kind="X", fields=fields, commands={"/x/y": command})
    schema = Schema.from_str(generate({"x": provider}))
    for name in (*fields, "of"):
        read = f'permit(principal, action, resource is X) when {{ resource["{name}"] == "a" }};'
        assert bool(validate_policies(read, schema)) is (name in fields)


def test_the_schema_does_not_depend_on_the_order_of_providers() -> None:
    turned = dict(reversed(CATALOG.items()))
    facts = {"b": "Long", "a": "Bool"}
    assert generate(turned, facts) == generate(CATALOG, dict(sorted(facts.items())))


def test_every_attribute_of_the_schema_is_known() -> None:
    known = attributes(CATALOG, {"ticket": "Long"})
    assert {"delegationDepth", "swarmId", "cosigned", "now", "hour", "agent"} <= known
    assert {"owner", "path", "issue_number", "ticket"} <= known
    for name in known - {"ticket"}:
        assert name in generate(CATALOG)
