"""Forks that are refused as wider, compared with every value of a small universe."""

from __future__ import annotations

from typing import Any, Final

import pytest
from constraints.deciding import delegation, exceeds, passes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from long_runs import times

from nomos.constraints import (
    Constraint,
    at_least,
    at_most,
    between,
    each,
    eq,
    from_pol,
    like,
    not_,
    not_eq,
    one_of,
    some,
    under,
    url,
)

NUMBERS: Final = [-1e300, -1, 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 1e300]
TEXTS: Final = [
    *(
        "",
        "a",
        "b",
        "ab",
        "a/b",
        "a/b/c",
        "a/bc",
        "b/a",
        "a/\u00a4",
        "a/b/\u00a4",
        "/",
        "/a",
        "/\u00a4",
    ),
    *(
        "\u00a4",
        "a\u00a4",
        "\u00a4a",
        "\u00a4b",
        "b\u00a4",
        "a\u00a4b",
        "\u00a4/b",
        "a/../b",
        "a/b/",
        "*",
    ),
]
UNIVERSE: Final[list[Any]] = [*NUMBERS, *TEXTS, True, False, None, [], [1]]

numbers = st.integers(0, 4)
texts = st.sampled_from(["", "a", "b", "ab", "a/b", "*"])
scalars: st.SearchStrategy[Any] = st.one_of(numbers, texts, st.just(True), st.none())
globs = st.sampled_from(["*", "a*", "*b", "a*b", "a/*", "a", "a/b*", "*a*", "\\*", "/*"])
atoms = st.one_of(
    st.builds(eq, st.just("n"), scalars),
    st.builds(not_eq, st.just("n"), scalars),
    st.builds(one_of, st.just("n"), st.lists(scalars, min_size=1, max_size=3)),
    st.tuples(numbers, numbers).map(lambda pair: between("n", min(pair), max(pair))),
    st.builds(at_most, st.just("n"), numbers),
    st.builds(at_least, st.just("n"), numbers),
    st.builds(like, st.just("n"), globs),
    st.builds(under, st.just("n"), st.sampled_from(["a", "a/b", "/", "/a", "b"])),
)
asked_or_held = st.one_of(
    atoms,
    atoms.map(not_),
    st.builds(lambda one, other: one & other, atoms, atoms),
    st.builds(lambda one, other: one | other, atoms, atoms),
)


def let_through(constraint: Constraint) -> list[int]:
    link = delegation(constraint.pol)
    return [at for at, value in enumerate(UNIVERSE) if passes(link, {"n": value})]


@settings(max_examples=times(120, short=40), deadline=None, suppress_health_check=list(HealthCheck))
@given(asked_or_held, asked_or_held)
def test_constraints_refused_as_wider_permit_more(asked: Constraint, held: Constraint) -> None:
    beyond = [UNIVERSE[at] for at in set(let_through(asked)) - set(let_through(held))]
    if exceeds(asked.pol, held.pol):
        assert beyond != [], (str(asked), str(held))


A: dict[str, Any] = {"host": "a.example.com"}
B: dict[str, Any] = {"host": "b.example.com"}

MAYBE: Final = [["or", [["==", ".args.n?", None], ["<=", ".args.n", 5]]]]

DECIDED: list[tuple[Constraint, Constraint, bool]] = [
    (eq("n", 1), eq("n", 1), False),
    (eq("n", 1), eq("n", True), True),
    (eq("n", "closed"), eq("n", "open"), True),
    (eq("n", 1), one_of("n", [1, 2]), False),
    (one_of("n", [1, 2]), one_of("n", [2, 1, 3]), False),
    (one_of("n", [1, 4]), one_of("n", [1, 2, 3]), True),
    (one_of("n", [1, 2]), eq("n", 1), True),
    (eq("n", 5), between("n", 1, 10), False),
    (eq("n", 11), between("n", 1, 10), True),
    (eq("n", "5"), between("n", 1, 10), True),
    (between("n", 2, 9), between("n", 1, 10), False),
    (between("n", 1, 10), between("n", 1, 10), False),
    (between("n", 0, 10), between("n", 1, 10), True),
    (between("n", 1, 11), between("n", 1, 10), True),
    (at_most("n", 5), at_most("n", 9), False),
    (at_most("n", 9), at_most("n", 5), True),
    (at_most("n", 5), between("n", 1, 9), True),
    (between("n", 1, 9), at_most("n", 9), False),
    (~at_most("n", 5), at_least("n", 5), False),
    (at_least("n", 5), ~at_most("n", 5), True),
    (at_least("n", 1) & at_most("n", 5), between("n", 0, 9), False),
    (at_least("n", 1), one_of("n", [1, 2]), True),
    (under("n", "src/a"), under("n", "src"), False),
    (under("n", "src"), under("n", "src/a"), True),
    (under("n", "srcs"), under("n", "src"), True),
    (under("n", "src"), under("n", "src"), False),
    (under("n", "/a"), under("n", "/"), False),
    (under("n", "a"), under("n", "/"), True),
    (eq("n", "src/a"), under("n", "src"), False),
    (eq("n", "src/../a"), under("n", "src"), True),
    (under("n", "src"), like("n", "src*"), False),
    (under("n", "src"), like("n", "*.py"), True),
    (like("n", "src/*"), under("n", "src"), True),
    (like("n", "a*"), like("n", "*"), False),
    (like("n", "ab*"), like("n", "a*"), False),
    (like("n", "a*"), like("n", "ab*"), True),
    (like("n", "*@x.org"), like("n", "*@x.org"), False),
    (like("n", "me*@x.org"), like("n", "*@x.org"), False),
    (like("n", "*@y.org"), like("n", "*@x.org"), True),
    (like("n", "a"), like("n", "a*"), False),
    (like("n", "*a*"), like("n", "*a*a*"), True),
    (like("n", "*aa*"), like("n", "*a*a*"), False),
    (url("n", **A), url("n", **A), False),
    (url("n", path_prefix="/v1", **A), url("n", **A), False),
    (url("n", **A), url("n", path_prefix="/v1", **A), True),
    (url("n", **A), url("n", **B), True),
    (url("n", query=True, **A), url("n", **A), True),
    (url("n", path_prefix="/v1", **A), url("n", path_prefix="/v1", query=True, **A), False),
    (url("n", scheme="http", **A), url("n", **A), True),
    (url("n", port=8443, **A), url("n", **A), True),
    (url("n", **A), like("n", "https://*"), False),
    (eq("n", "https://a.example.com/x"), url("n", **A), False),
    (eq("n", 1), eq("m", 1), False),
    (eq("n", 1), eq("n.k", 1), False),
    (eq("n", 1) & eq("m", 2), eq("m", 2), False),
    (eq("n", 1) & eq("m", 2), eq("m", 2) & eq("k", 3), False),
    (eq("n", 1) & eq("m", 2), eq("m", 3) & eq("k", 3), True),
    (each("n", eq("k", 1)), each("n", eq("k", 1)), False),
    (each("n", eq("k", 1)), each("n", at_most("k", 1)), False),
    (some("n", eq("k", 1)), some("n", at_most("k", 1)), False),
    (eq("n", 1), eq("n", 1) | eq("m", 1), False),
    (eq("n", 1), not_eq("n", 2), False),
    (eq("n", 2), not_eq("n", 2), True),
    (not_eq("n", 2), eq("n", 1), False),
    (not_eq("n", 2), like("n", "a*"), False),
    (eq("n", 1), from_pol([]), False),
    (from_pol([]), eq("n", 1), False),
    (from_pol([["or", []]]), eq("n", 1), False),
    (eq("n", 1), from_pol([["or", []]]), False),
    (eq("n", 1), from_pol([["==", ".args.n?", 1]]), False),
    (from_pol([["==", ".args.n?", None]]), eq("n", None), False),
    (from_pol([["or", [["==", ".args.n?", None], ["==", ".args.n", 1]]]]), eq("n", 1), False),
    (from_pol([["not", ["==", ".args.n?", 1]]]), eq("n", 1), False),
    (from_pol([["==", ".args.n?", 1]]), eq("n", 1), False),
    (eq("n", 1) & eq("n", 2), eq("n", 3), False),
    (like("n", "\\*"), eq("n", "*"), False),
    (from_pol(MAYBE) & at_least("n", 0), from_pol(MAYBE), False),
    (from_pol(MAYBE) & at_least("n", 0), at_most("n", 4), True),
]


@pytest.mark.parametrize(("asked", "held", "wider"), DECIDED)
def test_the_listed_requests_are_refused_as_wider(
    asked: Constraint, held: Constraint, *, wider: bool
) -> None:
    assert exceeds(asked.pol, held.pol) is wider
