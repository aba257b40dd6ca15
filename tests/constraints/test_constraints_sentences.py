"""Edges of the builders, and their exact messages."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from nomos.constraints import (
    Constraint,
    all_of,
    any_of,
    at_least,
    at_most,
    between,
    each,
    eq,
    from_pol,
    like,
    listed,
    not_,
    not_eq,
    one_of,
    some,
    under,
    url,
)
from nomos.errors import ConfigurationError

BIG = ["x" * 1000] * 9
"""Too much for one policy, though no text of it is too long."""


def setting_and_message(build: Callable[[], object]) -> tuple[str | None, str]:
    with pytest.raises(ConfigurationError) as caught:
        build()
    return caught.value.setting, str(caught.value)


@pytest.mark.parametrize(
    ("build", "arguments", "what"),
    [
        (one_of, ("a", "xy"), 'must have a list of choices, such as ["open", "closed"]'),
        (one_of, ("a", 5), 'must have a list of choices, such as ["open", "closed"]'),
        (one_of, ("a", []), "must have at least one choice: no value is in an empty list"),
        (between, ("a", 2, 1), "cannot be between 2 and 1: the lower number comes first"),
        (between, ("a", "1", 2), "must be a number, not text"),
        (between, ("a", 1, None), "must be a number, not null"),
        (at_most, ("a", True), "must be a number, not true or false"),
        (at_least, ("a", [1]), "must be a number, not a list"),
        (at_least, ("a", {}), "must be a number, not an object"),
        (at_least, ("a", object()), "must be a number, not this"),
        (like, ("a", 5), 'must have a text as pattern, such as "*@example.com"'),
        (each, ("a", 5), 'must be given constraints, such as eq("state", "open")'),
        (some, ("a", None), 'must be given constraints, such as eq("state", "open")'),
        (eq, ("a", object()), "must be a plain JSON value"),
        (eq, ("a", math.inf), "must be a plain JSON value, which NaN and infinities are not"),
        (eq, ("a", "\ud800"), "has half of a surrogate pair"),
        (eq, ("a", "x" * 1025), "has a text of 1025 characters; the limit is 1024"),
        (one_of, ("a", ["x" * 1025]), "has a text of 1025 characters; the limit is 1024"),
        (like, ("a", "x" * 1025), "has a text of 1025 characters; the limit is 1024"),
        (not_eq, ("a", "x" * 1025), "has a text of 1025 characters; the limit is 1024"),
        (
            eq,
            ("a", {"e\u0301": 1}),
            "has a name that is not in Unicode normalisation form C",
        ),
        (eq, ("a", BIG), "has 9047 bytes as JSON; the limit is 8192"),
        (not_eq, ("a", BIG), "has 9080 bytes as JSON; the limit is 8192"),
        (one_of, ("a", [BIG]), "has 9047 bytes as JSON; the limit is 8192"),
    ],
)
def test_a_builder_names_the_faulty_argument(
    build: Callable[..., Constraint], arguments: tuple[object, ...], what: str
) -> None:
    assert setting_and_message(lambda: build(*arguments)) == ("a", f"a {what}")


@pytest.mark.parametrize("build", [all_of, any_of])
def test_an_empty_combination_is_refused(build: Callable[..., Constraint]) -> None:
    name = build.__name__
    assert setting_and_message(build) == (name, f"{name} must have at least one constraint")
    sentence = 'must be given constraints, such as eq("state", "open")'
    assert setting_and_message(lambda: build(eq("a", 1), 5)) == (name, f"{name} {sentence}")


def test_a_combination_that_is_too_large_is_refused_as_one() -> None:
    half = eq("a", BIG[:5])
    for build in (lambda: half & half & half, lambda: half | half, lambda: not_(half) & half):
        setting, sentence = setting_and_message(build)
        assert setting == "constraints"
        assert sentence.endswith("bytes as JSON; the limit is 8192")
    assert setting_and_message(lambda: not_(5)) == (  # type: ignore[arg-type]
        "not_",
        'not_ must be given constraints, such as eq("state", "open")',
    )


@pytest.mark.parametrize("build", [each, some])
def test_an_element_that_is_too_large_is_refused_at_its_path(
    build: Callable[[str, Constraint], Constraint],
) -> None:
    path = "a" * 50
    setting, sentence = setting_and_message(lambda: build(path, eq(".", [*BIG[:8], "x" * 110])))
    assert (setting, sentence[:54]) == (path, f"{path} has")
    assert sentence.endswith("bytes as JSON; the limit is 8192")


def test_a_faulty_item_of_a_list_is_named_by_its_index() -> None:
    sentence = 'must be a constraint or a list of them, such as [eq("state", "open")]'
    assert setting_and_message(lambda: listed("x")) == ("constraints", f"constraints {sentence}")
    assert setting_and_message(lambda: listed([eq("a", 1), "x"], "here")) == (
        "here[1]",
        'here[1] must be a constraint, such as eq("state", "open")',
    )
    setting, sentence = setting_and_message(lambda: listed([eq("a", BIG[:5])] * 2, "here"))
    assert (setting, sentence[:9]) == ("here", "here has ")


def test_a_truth_test_raises_with_advice() -> None:
    with pytest.raises(TypeError) as caught:
        bool(eq("a", 1))
    assert str(caught.value) == ("a constraint is neither true nor false: combine with &, | and ~")


def test_builders_give_the_shortest_equivalent_pol() -> None:
    a, b = eq("a", 1), eq("b", 2)
    pairs: list[tuple[Constraint, list[Any]]] = [
        (a & b, [["==", ".args.a", 1], ["==", ".args.b", 2]]),
        (a | b, [["or", [["==", ".args.a", 1], ["==", ".args.b", 2]]]]),
        (any_of(a), [["==", ".args.a", 1]]),
        (one_of("a", [1]), [["==", ".args.a", 1]]),
        (
            one_of("a", iter([1, 1.0, True])),
            [["or", [["==", ".args.a", 1], ["==", ".args.a", True]]]],
        ),
        (between("a", 1, 1), [["and", [[">=", ".args.a", 1], ["<=", ".args.a", 1]]]]),
        (at_most("a", 9.0), [["<=", ".args.a", 9]]),
        (at_least("a", -0.0), [[">=", ".args.a", 0]]),
        (like("a", "*x"), [["like", ".args.a", "*x"]]),
    ]
    for built, pol in pairs:
        assert built.pol == pol


def test_paths_and_urls_compile_to_the_listed_statements() -> None:
    assert str(under("p", "a/b")) != str(under("p", "a/c"))
    assert under("p", "a/b").pol != under("q", "a/b").pol
    plain = url("u", host="example.com")
    assert plain == url("u", host="example.com", query=False)
    assert plain != url("u", host="example.com", query=True)
    assert plain.pol != url("v", host="example.com").pol
    setting, _ = setting_and_message(lambda: url("u", host="10.0.0.1"))
    assert setting == "u"
    assert url("u", host="10.0.0.1", allow_private=True).pol


def test_from_pol_names_the_position_of_a_fault() -> None:
    assert setting_and_message(lambda: from_pol([5], where="here")) == (
        "here[0]",
        "here[0] is not a statement",
    )
    assert setting_and_message(lambda: from_pol([["like", ".a", 1]])) == (
        "pol[0]",
        'pol[0] is not ["like", selector, pattern]',
    )
    assert len(from_pol([["==", ".a", 1]] * 100).pol) == 100
