"""Cedar text is split into policies exactly where Cedar's own parser does."""

from __future__ import annotations

import json

import pytest
from cedarpy import PolicySet, policies_to_json_str
from hypothesis import given, settings
from hypothesis import strategies as st

from nomos.policy.statements import MAX_CODE, MAX_NESTING, MAX_PATH, Statement, split

ANY = "permit(principal, action, resource);"


def places(text: str) -> list[str]:
    return [statement.place for statement in split(text)]


def only(text: str) -> Statement:
    [statement] = split(text)
    return statement


@pytest.mark.parametrize("text", ["", " \n\t", "// only a comment", "// a\n// b;\n", "\ufeff"])
def test_a_text_without_policies_has_no_statements(text: str) -> None:
    assert places(text) == []


def test_a_policy_begins_at_its_first_character_after_comments() -> None:
    text = f'// list\n\n  {ANY}\n// two; three\n@id("x")\n{ANY} // end\n'
    assert places(text) == ["3", "5"]


def test_policies_on_one_line_are_distinguished_by_column() -> None:
    assert places(f"{ANY} {ANY}\n{ANY}") == ["1", "1:38", "2"]
    assert places(f"\n  {ANY}{ANY}") == ["2", "2:39"]


def test_a_policy_after_the_end_of_a_longer_one_needs_no_column() -> None:
    assert places(f"permit(\nprincipal, action, resource); {ANY}") == ["1", "2"]


def test_semicolons_in_strings_and_comments_end_nothing() -> None:
    text = 'permit(principal, action, resource) // one;\nwhen { "a;\\"b;\n" == "\\\\" };'
    assert only(text).text == text
    assert only(text).ended


def test_a_comment_ends_at_a_lone_carriage_return_as_it_does_for_cedar() -> None:
    assert len(PolicySet.from_str(f"// a\r{ANY}")) == 1
    assert only(f"// a\r{ANY}").text == ANY


def test_a_byte_order_mark_is_passed_over() -> None:
    assert only(f"\ufeff{ANY}").text == ANY


@pytest.mark.parametrize("text", ["permit(principal", 'permit("a;b', "permit /", "\\", "a // b"])
def test_text_after_the_last_semicolon_is_an_unfinished_statement(text: str) -> None:
    first, rest = split(f"{ANY}\n{text}\n")
    assert first.ended
    assert (rest.ended, rest.line) == (False, 2)


def test_an_empty_statement_is_one() -> None:
    assert [statement.text for statement in split(f"{ANY};")] == [ANY, ";"]


def test_nesting_is_bounded_before_the_parser_sees_it() -> None:
    for opening, closing in ("()", "[]", "{}"):
        fits, too_deep = opening * MAX_NESTING, opening * (MAX_NESTING + 1)
        assert only(f"{fits}{closing * MAX_NESTING};").too_complex is None
        assert "nested" in str(only(f"{too_deep}{closing * (MAX_NESTING + 1)};").too_complex)
        assert "nested" in str(only(f"{closing * 99}{too_deep}").too_complex)


def test_brackets_in_strings_and_comments_do_not_count() -> None:
    assert only(f'permit("{"(" * 99}") // {"(" * 99}\n;').too_complex is None


def test_length_is_bounded_but_strings_may_be_long() -> None:
    assert only("a" * MAX_CODE).too_complex is None
    assert "longer" in str(only("a" * (MAX_CODE + 1)).too_complex)
    assert only(f'"{"a" * MAX_CODE}";').too_complex is None


@pytest.mark.parametrize(
    "path",
    ["context has {}", "context has // one;\n {}", "context\thas\n{}", "1has {}", '"a"has {}'],
)
@pytest.mark.parametrize("dot", [".", " . ", ".// dot\n", "\r\n."])
def test_a_path_after_has_is_bounded(path: str, dot: str) -> None:
    fits, too_long = (dot.join("a" * count) for count in (MAX_PATH, MAX_PATH + 1))
    assert only(f"{ANY[:-1]} when {{ {path.format(fits)} }};").too_complex is None
    found = only(f"{ANY[:-1]} when {{ {path.format(too_long)} }};").too_complex
    assert found == "has a path of more than 16 segments after `has`; test a shorter one"


def test_a_path_elsewhere_may_be_longer() -> None:
    path = ".".join("a" * 40)
    for text in (f"context.{path}", f'"has {path}"', f"1 // has {path}\n", f"has_{path}"):
        assert only(f"{ANY[:-1]} when {{ {text} == 1 }};").too_complex is None


def test_the_written_id_is_found_in_what_does_not_parse() -> None:
    assert only('@id("a \\"b\\"") nonsense;').written_id == 'a \\"b\\"'
    assert only("nonsense;").written_id is None


PIECES = st.sampled_from(
    [
        ANY,
        'forbid(principal, action, resource) when { "a;\\"" == ";" };',
        '@id("x;y")\npermit(principal, action == Action::"/a;", resource);',
        '// note; with "quote\n',
        "// carriage return\r",
        "\n",
        " ",
        "\t\r\n",
        "\u00a0\u2028",
    ]
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_statements_are_those_that_cedar_finds(text: str) -> None:
    whole = json.loads(policies_to_json_str(text))["staticPolicies"]
    cut = [json.loads(policies_to_json_str(each.text))["staticPolicies"] for each in split(text)]
    assert [whole[f"policy{place}"] for place in range(len(whole))] == [
        each["policy0"] for each in cut
    ]


@settings(deadline=None)
@given(st.text(alphabet='ab;"\\/\n\r()[]{} @', max_size=40))
def test_no_text_is_lost_but_comments_and_white_space(text: str) -> None:
    statements = list(split(text))
    assert all(each.text in text for each in statements)
    assert all(each.ended for each in statements[:-1])
    for each in statements:
        line = text.split("\n")[each.line - 1]
        assert line[(each.column or 1) - 1 :].count(each.text.split("\n")[0])
    places = [(each.line, each.column or 0) for each in statements]
    assert places == sorted(set(places))
