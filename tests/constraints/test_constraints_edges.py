"""Limits and the steps of paths: one case on either side of each."""

from __future__ import annotations

import math
from typing import Any

import pytest
from constraints.deciding import delegation, passes

from nomos._pol.checks import MAX_BYTES, MAX_LEVELS, policy
from nomos._pol.hosts import MAX_HOST
from nomos._pol.patterns import MAX_PREFIX
from nomos._pol.selectors import (
    MAX_SELECTOR,
    MAX_STEPS,
    Step,
    known,
    optional,
    steps,
    strict,
    within_element,
    written,
)
from nomos._pol.values import MAX_TEXT, exact, text
from nomos.constraints import any_of, each, eq, from_pol, like, not_, not_eq, under, url
from nomos.errors import ConfigurationError

FREE = steps.__wrapped__  # as if no path had been read before


def member(name: str, *, maybe: bool = False) -> Step:
    return Step("member", name, maybe)


@pytest.mark.parametrize(
    ("path", "found", "text_"),
    [
        (".", (), "."),
        (".?", (), "."),
        (".a", (member("a"),), ".a"),
        (".a?", (member("a", maybe=True),), ".a?"),
        (".a??.b", (member("a", maybe=True), member("b")), ".a?.b"),
        ("._a$-1", (member("_a$-1"),), "._a$-1"),
        (".\u00e9\u0301\u0661", (member("\u00e9\u0301\u0661"),), '.["\u00e9\u0301\u0661"]'),
        ('.["a b"]', (member("a b"),), '.["a b"]'),
        ('["a"].b', None, ""),
        ('.["a\\"]"]?', (member('a"]', maybe=True),), '.["a\\"]"]?'),
        ('.["\\x"]', None, ""),
        ('.["a"', None, ""),
        (".[0]", (Step("element", 0),), ".[0]"),
        (".[-12]?", (Step("element", -12, optional=True),), ".[-12]?"),
        (".[" + "9" * 15 + "]", (Step("element", 10**15 - 1),), ".[" + "9" * 15 + "]"),
        (".[" + "9" * 16 + "]", None, ""),
        (".[]", (Step("each"),), ".[]"),
        (".a[]?", (member("a"), Step("each", None, optional=True)), ".a[]?"),
        (".[1:3]", (Step("slice", (1, 3)),), ".[1:3]"),
        (".[:3]", (Step("slice", (0, 3)),), ".[0:3]"),
        (".[2:]", (Step("slice", (2, None)),), ".[2:]"),
        (".[-2:-1]?", (Step("slice", (-2, -1), optional=True),), ".[-2:-1]?"),
        (".[:]", None, ""),
        ("a", None, ""),
        (".1a", None, ""),
        (".a-", (member("a-"),), ".a-"),
        (".-a", None, ""),
        (".a\u00b0", None, ""),
        (".a.", None, ""),
        (".a..b", None, ""),
        ("", None, ""),
        (".a" * MAX_STEPS, (member("a"),) * MAX_STEPS, ".a" * MAX_STEPS),
        (".a" * (MAX_STEPS + 1), None, ""),
    ],
)
def test_a_path_is_read_step_by_step(path: str, found: tuple[Step, ...] | None, text_: str) -> None:
    assert FREE(path) == found
    if found is not None:
        assert written(found) == text_
        assert FREE(text_) == found
        assert all(type(step.optional) is bool for step in FREE(path) or ())


@pytest.mark.parametrize(
    ("path", "loosened", "hard", "inside"),
    [
        (".args", ".args?", ".args", ".args"),
        (".args.a", ".args.a?", ".args.a", ".a"),
        (".args?.a?", ".args?.a?", ".args.a", ".args?.a?"),
        (".resource.a", ".resource?.a?", ".resource.a", ".resource.a"),
        (".", ".", ".", "."),
        (".?", ".?", ".", ".?"),
    ],
)
def test_paths_made_of_a_path(path: str, loosened: str, hard: str, inside: str) -> None:
    assert optional(path) == loosened
    assert strict(path) == hard
    assert within_element(path) == inside
    assert known(path) is not None


@pytest.mark.parametrize(
    ("build", "most"),
    [
        (lambda count: eq("a", "x" * count), MAX_TEXT),
        (lambda count: eq("a", {"x" * count: 1}), MAX_TEXT),
        (lambda count: eq("a", [["x" * count]]), MAX_TEXT),
        (lambda count: eq("a", {"k": ["x" * count]}), MAX_TEXT),
        (lambda count: eq("." + "a" * (count - 1), 1), MAX_SELECTOR),
        (lambda count: from_pol([["==", "." + "a" * (count - 1), 1]]), MAX_SELECTOR),
        (lambda count: under("a", "x" * count), MAX_PREFIX),
        (lambda count: url("u", host="a" * (count - 250) + ".a" * 123 + ".com"), MAX_HOST),
        (lambda count: url("u", host="a.com", port=count), 65535),
        (lambda count: eq("a", count), 2**53 - 1),
        (lambda count: eq("a", -count), 2**53 - 1),
        (lambda count: eq("a", {"k": count}), 2**53 - 1),
        (lambda count: eq("a", [float(count)] if count < 2**53 else [count]), 2**53 - 1),
        (lambda count: eq("a", nested(count)), MAX_LEVELS - 1),
        (lambda count: from_pol(sized(count)), MAX_BYTES),
    ],
)
def test_limits_are_inclusive(build: Any, most: int) -> None:
    build(most)
    with pytest.raises(ConfigurationError):
        build(most + 1)


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels - 1):
        value = {"k": value} if level % 2 else [value]
    return value


def sized(count: int) -> list[Any]:
    """A policy of exactly so many bytes."""
    pol: list[Any] = [["==", ".args.a", "x" * 500]] * 14
    pol.append(["==", ".args.b", ""])
    pol[-1][2] = "x" * (count - len(text(pol)))
    return pol


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 2.0**53, 1e20, {"k": math.nan}, {"k": [2**53]}, [{"\ud800": 1}],
     {"k": "\udfff"}, "\udfff", {1: 2}, {"k": {2: 3}}, {"k": object()}, b"x", (1, math.inf)],
)  # fmt: skip
def test_values_that_no_token_can_have_are_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        eq("a", value)
    assert refused.value.setting == "a"
    with pytest.raises(ConfigurationError) as refused:
        policy([["==", ".args.a", value]], where="p")
    assert str(refused.value.setting).startswith("p")


def test_numbers_and_names_have_one_form() -> None:
    whole = exact({"b": [1.0, {"c": -0.0}], "a": 2.5, "d": 2.0**53 - 1})
    assert text(whole) == '{"a":2.5,"b":[1,{"c":0}],"d":9007199254740991}'
    assert text("\u00e9") == '"\u00e9"'
    assert eq("a", {"b": 1, "a": 2}) == eq("a", {"a": 2, "b": 1.0})
    assert eq("a", 1e21).pol == [["==", ".args.a", 1e21]]
    assert eq("a", 1e22).pol == [["==", ".args.a", 1e22]]


@pytest.mark.parametrize(
    ("glob", "value", "expected"),
    [
        ("ab", "ab", True),
        ("ab", "abc", False),
        ("*", "", True),
        ("a*", "a", True),
        ("*a", "ba", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*a*", "a", True),
        ("*a*", "b", False),
        ("a*b*c", "abc", True),
        ("a*b*c", "acb", False),
        ("*ab*ab", "ab", False),
        ("*ab*ab", "abab", True),
        ("*ab*ba", "aba", False),
        ("a*\\**c", "a*c", True),
        ("a*\\**c", "abc", False),
    ],
)
def test_patterns_match_the_whole_text(glob: str, value: str, expected: bool) -> None:  # noqa: FBT001
    assert passes(delegation(like("a", glob).pol), {"a": value}) is expected


def test_presence_checks_are_not_negated() -> None:
    here = ["!=", ".args.a?", None]
    assert not_(not_eq("a", 1)) == eq("a", 1)
    assert not_(not_eq("a", None)).pol == [["==", ".args.a", None]]
    assert not_(not_(like("a", "x*"))) == like("a", "x*")
    alone = from_pol([["and", [here, ["==", ".args.b", 1]]]])
    assert not_(alone) == any_of(eq("a", None), not_(eq("b", 1)))
    texts = from_pol([["and", [["like", ".args.a", "*"], ["not", ["like", ".args.b", "x"]]]]])
    assert not_(texts).pol[0][0] == "or"
    assert each("a", not_(not_eq(".", 1))) == each("a", eq(".", 1))
    with pytest.raises(ConfigurationError):
        not_(from_pol([["or", []]]))


@pytest.mark.parametrize("prefix", ["/", "//", "a//b", "a/./b", "a/../b", ".", "..", "/.."])
def test_a_folder_with_dot_segments_is_refused(prefix: str) -> None:
    if prefix == "/":
        assert under("p", prefix) == under("p", "/")
        assert str(under("p", "a/")) == 'p is under "a"'
        return
    with pytest.raises(ConfigurationError):
        under("p", prefix)


@pytest.mark.parametrize("port", [1, 65534, 65535])
def test_only_valid_ports_are_accepted(port: int) -> None:
    assert f":{port}" in str(url("u", host="a.com", port=port))
