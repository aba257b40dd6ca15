"""Conditions that no call can meet are refused with a correction."""

from __future__ import annotations

import pytest

from nomos.errors import InvalidPolicy
from nomos.policy.bundle import Source, load
from nomos.policy.tree import nodes
from nomos.resources import Catalog, CommandSpec, Provider, ResourceField
from nomos.server.providers.catalog import load_catalog

CATALOG = load_catalog()
FILES = "principal, action, resource is Filesystem"
GITHUB = 'principal, action in Action::"/github", resource'


def provider(name: str, **fields: ResourceField) -> Provider:
    command = CommandSpec(name=f"/{name}/read", risk="read")
    kind = name.capitalize()
    return Provider(name=name, kind=kind, fields=fields, commands={command.name: command})


def messages(scope: str, condition: str = "true", catalog: Catalog = CATALOG) -> list[str]:
    text = f"forbid({scope}) when {{ {condition} }};"
    try:
        load([Source("p.cedar", text)], catalog)
    except InvalidPolicy as invalid:
        return [problem.message for problem in invalid.problems]
    return []


def message(scope: str, condition: str = "true", catalog: Catalog = CATALOG) -> str:
    [found] = messages(scope, condition, catalog)
    return found


@pytest.mark.parametrize(
    ("scope", "condition"),
    [
        ('principal, action, resource == Filesystem::"reports/x"', "true"),
        ('principal, action, resource in Filesystem::"reports/x"', "true"),
        ('principal, action, resource is Filesystem in Filesystem::"reports/x"', "true"),
        (FILES, 'resource == Filesystem::"reports/x"'),
        (FILES, 'Filesystem::"reports/x" != resource'),
        (FILES, 'context.argsBound && !(resource in Filesystem::"reports/x")'),
        (FILES, 'resource in [Filesystem::"reports/x"]'),
        (FILES, 'resource is Filesystem in Filesystem::"reports/x"'),
        (FILES, '[Filesystem::"reports/x"].contains(resource)'),
    ],
)
def test_a_resource_is_named_by_its_fields_and_not_by_an_id(scope: str, condition: str) -> None:
    found = message(scope, condition)
    assert 'no resource is Filesystem::"reports/x"; write `resource is Filesystem`' in found
    assert '`when { resource.path == "reports/x"' in found


def test_in_with_a_path_suggests_equality_or_like() -> None:
    found = message('principal, action, resource in Filesystem::"/reports/"')
    assert '`when { resource.path == "reports" || resource.path like "reports/*" }`' in found
    starred = message('principal, action, resource in Filesystem::"a*"')
    assert r'resource.path == "a*" || resource.path like "a\*/*"' in starred
    everything = message('principal, action, resource in Filesystem::"/"')
    assert everything.endswith('`when { resource.path == "" }`')


def test_the_fields_to_compare_are_those_that_are_always_there() -> None:
    found = message(GITHUB, 'resource == Github::"acme/app"')
    assert "`when { resource.owner == … && resource.repo == … }`" in found
    assert "`when { resource.path == … }`" in message(FILES, 'resource == Filesystem::"a/../b"')
    catalog = {"notes": provider("notes", title=ResourceField())}
    assert "`when { resource.… == … }`" in message(
        "principal, action, resource", 'resource == Notes::"a"', catalog
    )


def test_in_with_an_unknown_type_never_holds() -> None:
    assert "write `resource is …`" in message(FILES, 'resource in App::"triage"')


def test_ids_of_agents_and_apps_are_named() -> None:
    assert messages('principal == Agent::"did:key:z", action, resource') == []
    assert messages(FILES, 'principal in App::"triage" && principal.rootAgent == "Did"') == []


@pytest.mark.parametrize(
    ("literal", "right"),
    [
        ("/x", "x"),
        ("./x", "x"),
        ("x/", "x"),
        ("/x/", "x"),
        ("a//b", "a/b"),
        ("a/./b", "a/b"),
        (r"a\\b", "a/b"),
        (".", ""),
        ("/Été", "Été"),
        (r"/a\"b", r"a\"b"),
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        "resource.path == {}",
        "{} == resource.path",
        'resource["path"] != {}',
        '["x", {}].contains(resource.path)',
        "if context.argsBound then resource.path == {} else false",
    ],
)
def test_a_path_that_no_resource_has_is_refused_with_its_canonical_form(
    literal: str, right: str, form: str
) -> None:
    found = message(FILES, form.format(f'"{literal}"'))
    assert found.startswith(f'resource.path is never "{literal}": a path is relative')
    assert found.endswith(f'; write "{right}"')


@pytest.mark.parametrize(
    ("pattern", "right"),
    [
        ("/reports/*", "reports/*"),
        ("./a/*", "a/*"),
        ("/*", "*"),
        ("*/", "*/*"),
        ("a//*", "a/*"),
        ("*/./b", "*/b"),
        (r"/a\*b*", r"a\*b*"),
        (r"*\\b", "*/b"),
    ],
)
def test_a_pattern_that_no_path_is_like_is_refused_with_a_better_one(
    pattern: str, right: str
) -> None:
    found = message(FILES, f'resource.path like "{pattern}"')
    assert found.startswith(f'resource.path is never like "{pattern}": a path is relative')
    assert found.endswith(f'; write "{right}"')


@pytest.mark.parametrize(
    "condition",
    ['resource.path == "a/../b"', 'resource.path like "../*"', 'resource.path like "*/../*"'],
)
def test_two_dots_have_no_canonical_form(condition: str) -> None:
    assert message(FILES, condition).endswith(": it must not contain ..")


@pytest.mark.parametrize(
    "condition",
    [
        'resource.path == "" || resource.path like ""',
        'resource.path == "reports/x" || resource.path == ".x" || resource.path == "a..b"',
        'resource.path == "A*"',
        'resource.path like "reports/*" || resource.path like "*/x" || resource.path like "*"',
        'resource.path like "*../x" || resource.path like "..*" || resource.path like "*.md"',
        'context.purpose == "/x" || context.purpose like "./*"',
        'context has purpose && ["/x"].contains(context.purpose)',
        '{"==": true, "in": 1, "like": 2, "Record": 3, "has": 4}.Record == 3',
    ],
)
def test_possible_values_have_no_message(condition: str) -> None:
    assert messages(FILES, condition) == []


def test_names_in_a_record_are_not_read_as_operators() -> None:
    record = {"Record": {"has": {"Value": 1}, "==": {"Value": 2}}}
    found = list(nodes({"conditions": [{"kind": "when", "body": record}]}))
    assert found[1:] == [record, {"Value": 2}, {"Value": 1}]


@pytest.mark.parametrize(
    ("condition", "right"),
    [
        ('resource.owner == "Acme"', "acme"),
        ('resource.repo like "Team-*"', "team-*"),
        ('["app", "App"].contains(resource.repo)', "app"),
    ],
)
def test_a_lower_cased_field_is_compared_in_lower_case(condition: str, right: str) -> None:
    found = message(GITHUB, condition)
    assert found.endswith(f'it is compared in lower case; write "{right}"')


def test_a_case_preserving_field_is_compared_in_any_case() -> None:
    assert messages(GITHUB, 'resource has ref && resource.ref == "Main"') == []


def test_a_value_that_the_field_cannot_have_is_refused() -> None:
    found = message(GITHUB, 'resource.owner == "acme/app"')
    assert '"acme/app": it has a form that this field does not accept' in found
    catalog = {"notes": provider("notes", key=ResourceField(required=True, pattern="[0-9]+"))}
    scope = "principal, action, resource is Notes"
    assert messages(scope, 'resource.key like "1*" || resource.key == "1"', catalog) == []
    assert "a form that this field" in message(scope, 'resource.key == "1x"', catalog)


def test_a_number_compared_with_a_text_is_cedar_s_to_refuse() -> None:
    condition = 'resource has issue_number && resource.issue_number == "/x"'
    assert "not compatible" in message(GITHUB, condition)


def test_a_long_literal_is_shortened_and_escaped() -> None:
    found = message(FILES, f'resource.path == "a\\u{{1b}}{"a" * 2000}"')
    assert found.startswith('resource.path is never "a\\u{1b}aaa')
    assert "a…" in found
    assert len(found) < 200


ELSEWHERE = {**CATALOG, "notes": provider("notes", path=ResourceField(required=True))}


@pytest.mark.parametrize(
    ("scope", "condition"),
    [
        (FILES, 'resource.path == "/x"'),
        ("principal, action, resource", 'resource is Filesystem && resource.path == "/x"'),
        ('principal, action in Action::"/filesystem", resource', 'resource.path == "/x"'),
        (
            'principal, action in [Action::"/filesystem/file/read"], resource',
            'resource.path == "/x"',
        ),
        ('principal, action == Action::"/filesystem/file/read", resource', '"/x"==resource.path'),
    ],
)
def test_the_rules_of_the_policys_provider_apply(scope: str, condition: str) -> None:
    assert message(scope, condition, ELSEWHERE).endswith('write "x"')


def test_a_value_that_one_provider_can_have_has_no_message() -> None:
    anything = "principal, action, resource"
    condition = 'resource has path && resource.path == "/x"'
    assert message(anything, condition).endswith('write "x"')
    assert messages(anything, condition, ELSEWHERE) == []
    assert messages("principal, action, resource is Notes", condition, ELSEWHERE) == []


@pytest.mark.parametrize(
    "condition",
    [
        'action == Action::"/github/issue"',
        'Action::"/github/issue" != action',
        '[Action::"/github/issue", Action::"/github/issue/list"].contains(action)',
    ],
)
def test_an_action_is_never_equal_to_a_group_of_commands(condition: str) -> None:
    found = message("principal, action, resource", condition)
    assert found.endswith('write `action in Action::"/github/issue"`')


@pytest.mark.parametrize(
    "condition",
    ['action == Action::"/github/issue/list"', 'action in Action::"/github/issue"'],
)
def test_an_action_equals_its_command_and_is_in_its_groups(condition: str) -> None:
    assert messages("principal, action, resource", condition) == []
