"""Properties of every constraint that can be built, and of every `pol` that can be read."""

from __future__ import annotations

import json
import pickle
from typing import Any

from constraints import building
from constraints.deciding import delegation, passes, signed, vacuous
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from long_runs import times

from nomos._pol.selectors import steps
from nomos._protocol import Refused, Signed
from nomos.constraints import Constraint, each, eq, from_pol, not_, some
from nomos.errors import ConfigurationError

MANY = settings(
    max_examples=times(150, short=50), deadline=None, suppress_health_check=list(HealthCheck)
)


def too_much(error: ConfigurationError) -> None:
    """Nothing else keeps constraints from being combined."""
    assert "levels" in str(error) or "bytes" in str(error)


@MANY
@given(building.constraints)
def test_each_constraint_can_be_signed_and_reads_back_equal(built: Constraint) -> None:
    answer = signed(built.pol)
    assert isinstance(answer, Signed), (built.pol, answer)
    assert vacuous(built.pol) is None
    again = from_pol(json.loads(json.dumps(built.pol)))
    assert again == built
    assert hash(again) == hash(built)
    assert pickle.loads(pickle.dumps(built)) == built
    assert str(built).isprintable(), str(built)


@MANY
@given(building.of_arguments, st.dictionaries(st.sampled_from("ab"), building.values, max_size=2))
def test_no_call_satisfies_a_constraint_and_its_negation(
    built: Constraint, args: dict[str, Any]
) -> None:
    try:
        opposite = not_(built)
    except ConfigurationError as large:
        too_much(large)
        return
    both = passes(delegation(built.pol), args) and passes(delegation(opposite.pol), args)
    assert not both, (built.pol, opposite.pol, args)


@MANY
@given(building.of_arguments, building.of_arguments, st.data())
def test_and_or_and_quantifiers_combine_results(
    one: Constraint, other: Constraint, data: st.DataObject
) -> None:
    args = data.draw(st.dictionaries(st.sampled_from("ab"), building.values, max_size=2))
    try:
        all_ = [one & other, one | other, each("to", one), some("to", one)]
    except ConfigurationError as large:
        too_much(large)
        return
    first, second = (passes(delegation(each_.pol), args) for each_ in (one, other))
    both, either, all_of_them, one_of_them = (delegation(each_.pol) for each_ in all_)
    assert passes(both, args) == (first and second)
    assert passes(either, args) == (first or second)
    assert passes(all_of_them, {"to": [args, args]}) == first
    assert passes(one_of_them, {"to": [args]}) == first
    assert passes(all_of_them, {"to": []})
    assert not passes(one_of_them, {"to": []})


@settings(MANY, max_examples=times(400, short=100))
@given(building.policies)
def test_statements_are_signed_or_refused_as_vacuous_alike(pol: list[Any]) -> None:
    answer = signed(pol)
    found = vacuous(pol)
    if isinstance(answer, Signed):
        assert found is None
    else:
        assert isinstance(answer, Refused)
        assert answer.code == "vacuous_policy"
        assert found is not None
        # The same statement at fault, said in the same words.
        assert found in answer.message


@settings(MANY, max_examples=times(400, short=100))
@given(st.lists(building.odd, max_size=2))
def test_python_and_the_binary_accept_the_same_pol(pol: list[Any]) -> None:
    answer = signed(pol, allow_vacuous=True)
    try:
        from_pol(pol)
    except ConfigurationError:
        assert isinstance(answer, Refused)
    else:
        assert isinstance(answer, Signed), answer


@settings(MANY, max_examples=times(400, short=100))
@given(building.odd_selectors)
def test_python_and_the_binary_accept_the_same_selectors(text: str) -> None:
    assume(len(text) < 100)
    answer = signed([["==", text, 1]])
    assert isinstance(answer, Signed) == (steps(text) is not None)


@MANY
@given(building.policies)
def test_any_policy_is_printed(pol: list[Any]) -> None:
    assert str(from_pol(pol)).isprintable()
    assert repr(from_pol(pol)).startswith("Constraint(")


@settings(MANY, max_examples=100)
@given(st.text(max_size=12).filter(lambda text: text.isprintable() is False))
def test_wording_escapes_all_values(text: str) -> None:
    try:
        built = eq("state", text)
    except ConfigurationError:
        return
    said = str(built)
    assert said.startswith('state is "')
    assert said.endswith('"')
    assert said.isprintable()
