"""Loading of bundles: accepted policies, refused ones, and their messages."""

from __future__ import annotations

import pytest

from nomos.errors import ConfigurationError, InvalidPolicy, PolicyProblem
from nomos.policy.bundle import MAX_POLICIES, MAX_TEXT, Bundle, Source, load
from nomos.policy.statements import MAX_NESTING
from nomos.server.providers.catalog import load_catalog

CATALOG = load_catalog()
ANY = "permit(principal, action, resource);"
STEP_UP = """\
@id("ask") @step_up("lead") @reason("Pull requests need a person.")
forbid(principal, action == Action::"/github/pr/create", resource)
unless { context.cosigned };
"""


def loaded(*texts: str, **facts: str) -> Bundle:
    sources = [Source(f"{place}.cedar", text) for place, text in enumerate(texts)]
    return load(sources, CATALOG, facts)


def problems(*texts: str) -> tuple[PolicyProblem, ...]:
    with pytest.raises(InvalidPolicy) as caught:
        loaded(*texts)
    return caught.value.problems


def problem(*texts: str) -> PolicyProblem:
    [found] = problems(*texts)
    return found


@pytest.mark.parametrize("texts", [(), ("",), ("// nothing yet\n",)])
def test_no_policies_are_a_bundle(texts: tuple[str, ...]) -> None:
    assert loaded(*texts).policies == ()


def test_policies_are_named_by_id_or_by_file_and_line() -> None:
    found = loaded(f"// one\n{ANY}", f"{ANY} {ANY}\n{STEP_UP}").policies
    assert [(each.id, each.name) for each in found] == [
        ("policy0", "0.cedar:2"),
        ("policy1", "1.cedar:1"),
        ("policy2", "1.cedar:1:38"),
        ("policy3", "ask"),
    ]
    ask = found[-1]
    assert (ask.file, ask.line, ask.effect) == ("1.cedar", 2, "forbid")
    assert (ask.step_up, ask.reason) == ("lead", "Pull requests need a person.")
    assert (found[0].effect, found[0].step_up, found[0].reason) == ("permit", None, None)


def test_the_hash_does_not_depend_on_layout_order_or_files() -> None:
    one = loaded(f"{ANY}\n{STEP_UP}").hash
    assert loaded(STEP_UP, "// a note\npermit (principal,\n  action, resource ) ;").hash == one
    assert len(one) == 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        ANY,
        f"{ANY}{ANY}{STEP_UP}",
        f"{ANY}{STEP_UP.replace('lead', 'owner')}",
        f"{ANY}{STEP_UP.replace('person', 'human')}",
        f"{ANY}{STEP_UP.replace('unless { context.cosigned }', 'unless { context.cosigner }')}",
        f"forbid(principal, action, resource);{STEP_UP}",
    ],
)
def test_the_hash_depends_on_everything_else(text: str) -> None:
    assert loaded(text).hash != loaded(f"{ANY}{STEP_UP}").hash


def test_a_policy_that_does_not_parse_is_named_with_its_line() -> None:
    found = problem(ANY, f'{ANY}\n\n@id("second")\npermit(principal, action) when {{ 1 }};')
    assert (found.file, found.line, found.policy) == ("1.cedar", 3, "second")
    assert "does not parse" in found.message


def test_a_missing_semicolon_is_suspected() -> None:
    found = problem(f"{ANY}\npermit(principal, action, resource)\n")
    assert (found.line, found.policy) == (2, "0.cedar:2")
    assert "; at its end" in found.message
    assert str(found).startswith("0.cedar:2: does not parse")


def test_all_problems_are_reported_in_order_of_files_and_lines() -> None:
    first = 'permit(principal, action == Action::"/github/issues/list", resource);\nnonsense;'
    second = f'@step_up("lead")\n{ANY}'
    found = problems(first, second)
    assert [(each.file, each.line) for each in found] == [
        ("0.cedar", 1),
        ("0.cedar", 2),
        ("1.cedar", 1),
    ]


def test_an_unknown_command_has_a_suggestion() -> None:
    found = problem(
        '@id("x") permit(principal, action == Action::"/github/issues/list", resource);'
    )
    assert "did you mean /github/issue/list?" in found.message
    assert str(found) == f"0.cedar:1: x: {found.message}"


def test_a_command_unlike_any_other_has_no_suggestion() -> None:
    found = problem('permit(principal, action == Action::"zzz", resource);')
    assert "did you mean" not in found.message


def test_a_field_of_another_provider_suggests_a_type_test() -> None:
    found = problem('permit(principal, action, resource) when { resource.owner == "acme" };')
    assert "`resource is Github`" in found.message
    loaded('permit(principal, action, resource is Github) when { resource.owner == "acme" };')


def test_a_field_of_no_provider_is_just_not_found() -> None:
    found = problems("permit(principal, action, resource is Github) when { resource.nope == 1 };")
    assert all("`nope`" in each.message and "resource is" not in each.message for each in found)


def test_an_optional_field_is_reported_once_with_a_has_test() -> None:
    scope = 'permit(principal, action in Action::"/github", resource)'
    assert "… has … && …" in problem(f"{scope} when {{ resource.issue_number == 7 }};").message
    with pytest.raises(InvalidPolicy) as caught:
        loaded(f"{scope} when {{ context.agent.ticket == 7 }};", ticket="Long")
    [found] = caught.value.problems
    assert "more actions; test first" in found.message


def test_a_policy_without_an_applicable_action_is_reported() -> None:
    found = problem("permit(principal is App, action, resource);")
    assert "unable to find an applicable action" in found.message


def test_an_undeclared_fact_cannot_be_read() -> None:
    policy = "permit(principal, action, resource) when { context.agent has x && context.agent.x };"
    assert loaded(policy, x="Bool").facts == {"x": "Bool"}
    assert "`has x` is never true" in problem(policy).message


@pytest.mark.parametrize(
    "condition",
    [
        "resource has isue_number && resource.isue_number == 7",
        "context.agent has tikcet",
        "context has agent.tikcet",
        "if principal has depth then true else false",
    ],
)
def test_a_misspelt_name_cannot_make_a_forbid_that_never_holds(condition: str) -> None:
    text = f"forbid(principal, action, resource is Github) when {{ {condition} }};"
    assert "is never true" in problem(text).message


def test_a_field_of_some_provider_can_be_tested_on_any() -> None:
    text = 'permit(principal, action, resource) when { resource has ref && resource.ref == "x" };'
    assert [each.effect for each in loaded(text).policies] == ["permit"]


def test_invalid_facts_are_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(ANY, x="Thing")
    assert caught.value.setting == "facts"


@pytest.mark.parametrize(
    "slot",
    ["principal == ?principal, action, resource", "principal, action, resource in ?resource"],
)
def test_a_template_is_refused(slot: str) -> None:
    assert "template" in problem(f"permit({slot});").message


def test_names_are_unique() -> None:
    text = f'@id("a")\n{ANY}'
    found = problem(f"\n{text}", text)
    assert (found.file, found.policy) == ("1.cedar", "a")
    assert "0.cedar:2" in found.message


def test_an_id_in_the_form_of_a_place_is_refused() -> None:
    assert problem(ANY, f'@id("0.cedar:1") {ANY}').file == "1.cedar"


def test_a_repeated_file_is_reported() -> None:
    with pytest.raises(InvalidPolicy):
        load([Source("a", ANY), Source("a", ANY)], CATALOG)


@pytest.mark.parametrize("text", ["", "a\\nb", "x" * 201, "\\u{202e}a"])
@pytest.mark.parametrize("key", ["id", "reason"])
def test_an_annotation_is_a_short_printable_text(key: str, text: str) -> None:
    assert f"@{key} needs a text" in problem(f'@{key}("{text}") {ANY}').message


def test_an_annotation_without_a_text_is_refused() -> None:
    assert "@id needs a text" in problem(f"@id {ANY}").message


@pytest.mark.parametrize("annotation", ["@step_up", '@step_up("")', '@step_up("a\\nb")'])
def test_a_step_up_names_a_role(annotation: str) -> None:
    text = f"{annotation} forbid(principal, action, resource) unless {{ context.cosigned }};"
    assert "@step_up needs a text" in problem(text).message


def test_a_permit_cannot_have_step_up() -> None:
    assert "is for a forbid" in problem(f'@step_up("lead") {ANY}').message


@pytest.mark.parametrize("condition", ["", "unless { context.argsBound }", "when { [1] == [2] }"])
def test_a_step_up_that_no_approval_lifts_is_refused(condition: str) -> None:
    text = f'@step_up("lead") forbid(principal, action, resource) {condition};'
    assert "context.cosigned" in problem(text).message


@pytest.mark.parametrize(
    "condition",
    [
        "unless { context.cosigned }",
        "unless { context.cosigner }",
        "unless { context has cosigned && context.cosigned }",
        "when { context.rate > 3 && !context.cosigned }",
        "when { [context.cosigned] == [false] }",
    ],
)
def test_a_step_up_that_an_approval_lifts_is_accepted(condition: str) -> None:
    text = f'@step_up("lead") forbid(principal, action, resource) {condition};'
    assert loaded(text).policies[0].step_up == "lead"


def test_other_annotations_are_accepted() -> None:
    assert loaded(f'@owner("security") {ANY}').policies[0].name == "0.cedar:1"


def test_a_bundle_has_a_bounded_size() -> None:
    half = " " * (MAX_TEXT // 2)
    loaded(half, half)
    assert problem(half, half, " ").file == "2.cedar"


def test_many_policies_are_refused_before_any_is_parsed() -> None:
    half = ";" * (MAX_POLICIES // 2)
    assert len(problems(half, half)) == MAX_POLICIES
    found = problem(half, half, f"// one more\n{ANY}")
    assert (found.file, found.line) == ("2.cedar", 2)
    assert "the bundle has more than 5000 policies" in found.message


def test_a_path_that_would_take_the_parser_long_is_refused() -> None:
    long = ".".join("a" * 3000)
    found = problem(f"permit(principal, action, resource) when {{ context has {long} }};")
    assert "16 segments after `has`" in found.message


def test_nesting_that_would_end_the_process_is_refused() -> None:
    for depth in (MAX_NESTING, 100_000):
        found = problem(
            f"permit(principal, action, resource) when {{ {'(' * depth}true{')' * depth} }};"
        )
        assert "nested" in found.message


@pytest.mark.parametrize("chain", ["true||", "1+", "if true then 1else ", "context.agent"])
def test_a_long_chain_that_would_end_the_process_is_refused(chain: str) -> None:
    found = problem(f"permit(principal, action, resource) when {{ {chain * 20_000}true }};")
    assert "longer than" in found.message


def test_an_overlong_or_chain_is_refused_and_contains_suggested() -> None:
    chain = " || ".join(f'resource.owner == "{name}"' for name in range(700))
    scope = "permit(principal, action, resource is Github)"
    try:
        loaded(f"{scope} when {{ {chain} }};")
    except InvalidPolicy as error:
        assert "contains" in str(error)  # noqa: PT017  (deeper chains are read by newer Pythons)
    names = ", ".join(f'"{name}"' for name in range(700))
    loaded(f"{scope} when {{ [{names}].contains(resource.owner) }};")


def test_the_engine_s_ids_map_to_policies_in_order_of_sources() -> None:
    texts = [f'@id("{place}") {ANY}' for place in range(12)]
    bundle = loaded("\n".join(texts[:7]), *texts[7:])
    assert [policy.name for policy in bundle.policies] == [str(place) for place in range(12)]
    assert bundle.by_id["policy11"].name == "11"


def test_the_repr_of_a_bundle_has_its_policies_and_not_the_engine() -> None:
    assert "PolicySet" not in repr(loaded(ANY))
