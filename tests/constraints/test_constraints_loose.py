"""Paths with `[]` and an optional step, which permit more than they seem to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from constraints import building
from constraints.deciding import delegation, exceeds, passes, signed, vacuous
from hypothesis import HealthCheck, given, settings

from nomos._pol.selectors import steps
from nomos._protocol import Refused, Signed
from nomos.constraints import each, eq, from_pol, like, not_, some
from nomos.errors import ConfigurationError

GIVEN = ["!=", ".args.a?[]?.b?", None]
DIFFERS = ["!=", ".args.a[].b", ["x"]]
THERE = ["==", ".args.a[].b", ["y"]]

NOTHING: list[tuple[list[Any], list[dict[str, Any]], str]] = [
    ([GIVEN], [{"a": []}, {"a": [{}]}], "pol[0]: a `!=`"),
    ([GIVEN, DIFFERS], [{"a": []}, {"a": [{}]}], "pol[0]: a `!=`"),
    ([["==", ".args.a[].b?", [None]], DIFFERS], [{"a": [{}]}], "pol[1]: a `!=`"),
    ([["!=", ".args.a?[]?", None]], [{"a": []}], "pol[0]: a `!=`"),
    ([["!=", ".args.a[].b?", [1]]], [{}, {"a": []}, {"a": [{}]}], "pol[0]: a `!=`"),
    ([["not", ["==", ".args.a?[]?.b?", 1]]], [{}, {"a": [{}]}], "pol[0]: a `not`"),
    ([["not", ["all", ".args.a?[]?.b?", ["==", ".", 1]]]], [{}], "pol[0]: a `not`"),
    (
        [["not", ["and", [["all", ".args.a[].b?", ["==", ".", None]], DIFFERS]]]],
        [{}, {"a": [{"b": 1}]}],
        "pol[0]: a `not`",
    ),
]


@pytest.mark.parametrize(("pol", "calls", "reason"), NOTHING)
def test_an_optional_step_within_each_element_is_vacuous(
    pol: list[Any], calls: list[dict[str, Any]], reason: str
) -> None:
    found = vacuous(pol)
    assert found is not None
    assert found.startswith(reason)
    answer = signed(pol)
    assert isinstance(answer, Refused)
    assert answer.code == "vacuous_policy"
    assert answer.message == found
    link = delegation(pol, allow_vacuous=True)
    assert all(passes(link, args) for args in calls)


SURE: list[list[Any]] = [
    [THERE, DIFFERS],
    [["==", ".args.a?[].b", ["y"]], DIFFERS],
    [["==", ".args.a[].b?", [None]], ["!=", ".args.a", 1]],
    [["==", ".args.a?[]?.b?", [None]], ["!=", ".args.a", 1]],
    [["!=", ".args.a?.b?[0]?", None], ["!=", ".args.a.b[0]", 1]],
    [["==", ".args.a[]", [1]], ["!=", ".args.a[]", [2]]],
]


@pytest.mark.parametrize("pol", SURE)
def test_a_required_step_before_an_optional_one_is_not_vacuous(pol: list[Any]) -> None:
    assert vacuous(pol) is None
    assert isinstance(signed(pol), Signed)


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(building.iterating)
def test_paths_with_iteration_are_signed_as_they_are_checked(pol: list[Any]) -> None:
    answer, found = signed(pol), vacuous(pol)
    assert (found is None) == isinstance(answer, Signed), (pol, found, answer)
    if isinstance(answer, Refused):
        assert found is not None
        assert found in answer.message


@pytest.mark.parametrize(
    "build",
    [
        lambda: some(".args.a[].b?", eq(".", 1)),
        lambda: not_(each(".args.a[]?", eq(".", 1))),
        lambda: not_(like(".args.a[].b?", "x*")),
    ],
)
def test_builders_refuse_paths_with_iteration(build: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match="use each or some") as refused:
        build()
    assert refused.value.setting.startswith(".args.a[]")


def test_their_wording_states_no_more_than_they_check() -> None:
    assert str(from_pol([GIVEN])) == ".args.a?[]?.b? differs from null"
    pair = [["!=", ".args?.a?[]?", None], ["!=", ".args.a[]", [1]]]
    assert "is not" not in str(from_pol([["and", pair]]))
    assert "is given" not in str(from_pol([["and", pair]]))


def test_paths_with_iteration_are_not_compared() -> None:
    lists, strict = eq(".args.a[].b?", [None]), eq(".args.a[].b", [None])
    # {"a": [{}]} fulfils the one, and not the other.
    assert passes(delegation(lists.pol), {"a": [{}]})
    assert not passes(delegation(strict.pol), {"a": [{}]})
    assert not exceeds(lists.pol, strict.pol)
    assert not exceeds(eq(".args.a[]", "x").pol, eq(".args.a[]", "y").pol)
    assert not exceeds((lists & eq("n", 1)).pol, lists.pol)


def test_a_path_has_at_most_as_many_steps_as_the_binary_reads() -> None:
    most = ".args" + ".a" * 63
    assert isinstance(signed(eq(most, 1).pol), Signed)
    assert isinstance(signed([["==", f"{most}.a", 1]]), Refused)
    assert steps(f"{most}.a") is None
    for wrong in (f"{most}.a", f"{most}.a"[6:], f".{most[6:]}.a[][]"):
        with pytest.raises(ConfigurationError, match="of at most 64 steps"):
            eq(wrong, 1)
    with pytest.raises(ConfigurationError, match=r"^pol\[0\] has no selector"):
        from_pol([["==", f"{most}.a", 1]])
