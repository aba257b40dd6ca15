"""Equality of JSON values is equality of their canonical forms."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as some

from nomos._json import same
from nomos._limits import MAX_INTEGER
from nomos.audit.canonical import canonical

SCALARS = (
    some.none()
    | some.booleans()
    | some.sampled_from([0, 1, -0.0, 1.0, 1e20, 10**20, 0.1 + 0.2, 0.3, "", "1", "é", "e\u0301"])
    | some.integers(-MAX_INTEGER, MAX_INTEGER)
    | some.floats(allow_nan=False, allow_infinity=False)
)
VALUES = some.recursive(
    SCALARS,
    lambda inner: (
        some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from("abé"), inner)
    ),
    max_leaves=6,
)


@given(VALUES, VALUES)
@example([True], [1])
@example({"a": 0.0}, {"a": False})
@example({"a": -0.0}, {"a": 0})
@example([1, [2]], (1.0, (2,)))
@example({"a": None}, {})
@example("é", "e\u0301")
def test_two_values_are_the_same_if_their_canonical_forms_are(one: Any, other: Any) -> None:
    assert same(one, other) is (canonical(one) == canonical(other))


@given(VALUES)
def test_a_value_is_the_same_as_its_copy_with_names_in_another_order(value: Any) -> None:
    assert same(value, _reversed(value))


def _reversed(value: Any) -> Any:
    match value:
        case dict():
            return {name: _reversed(value[name]) for name in reversed(value)}
        case list():
            return [_reversed(each) for each in value]
        case int() if not isinstance(value, bool):
            return float(value)
    return value


def test_nan_is_not_json_and_equals_nothing() -> None:
    assert not same(float("nan"), float("nan"))
    assert not same({"a": [float("nan")]}, {"a": [float("nan")]})
