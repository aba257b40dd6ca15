"""RFC 8785: published vectors, numbers, and properties of every value."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from nomos._limits import MAX_INTEGER
from nomos.audit.canonical import MAX_DEPTH, canonical

VECTORS: Final = os.environ.get("NOMOS_VECTORS")
NAMES: Final = ("arrays", "french", "structures", "unicode", "values", "weird")


@pytest.mark.skipif(VECTORS is None, reason="NOMOS_VECTORS names the folder of vectors")
@pytest.mark.parametrize("name", NAMES)
def test_the_published_vectors_come_out_as_published(name: str) -> None:
    folder = Path(VECTORS or "") / "jcs"
    given_ = json.loads((folder / "input" / f"{name}.json").read_text())
    assert canonical(given_) == (folder / "output" / f"{name}.json").read_bytes()


NUMBERS: Final = [
    (0, "0"),
    (-0.0, "0"),
    (1.0, "1"),
    (-1.5, "-1.5"),
    (1e20, "100000000000000000000"),
    (1e21, "1e+21"),
    (123456789012345680000.0, "123456789012345680000"),
    (1.2345e25, "1.2345e+25"),
    (0.000001, "0.000001"),
    (1e-7, "1e-7"),
    (1.5e-7, "1.5e-7"),
    (0.00012, "0.00012"),
    (5e-324, "5e-324"),
    (-5e-324, "-5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (9007199254740991, "9007199254740991"),
    (-9007199254740991, "-9007199254740991"),
    (333333333.33333329, "333333333.3333333"),
    (4.50, "4.5"),
    (2e-3, "0.002"),
    (1e-27, "1e-27"),
    (100.0, "100"),
    (0.1 + 0.2, "0.30000000000000004"),
]


@pytest.mark.parametrize(("number", "text"), NUMBERS)
def test_numbers_are_written_as_ecmascript_does(number: float, text: str) -> None:
    assert canonical(number).decode() == text
    assert json.loads(text, parse_int=float) == number
    assert canonical(json.loads(text)).decode() == text


def test_integers_that_no_double_is_written_as_are_refused() -> None:
    for number in (2**53 + 1, 123456789012345683968, 10**21, 10**400, -(10**5000)):
        with pytest.raises(ValueError, match="beyond"):
            canonical(number)


def test_names_are_sorted_by_utf16_units() -> None:
    given_ = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "ö": 7}
    said = canonical(given_).decode()
    assert list(json.loads(said)) == ["\r", "1", "\x80", "ö", "\u20ac", "\U0001f600", "\ufb33"]


def test_texts_are_escaped_as_little_as_possible() -> None:
    assert canonical('\x00\b\t\n\f\r"\\/\x7fé\u2028').decode() == (
        '"\\u0000\\b\\t\\n\\f\\r\\"\\\\/\x7fé\u2028"'
    )


REFUSED: Final[list[Any]] = [
    math.nan,
    math.inf,
    -math.inf,
    MAX_INTEGER + 2,
    -MAX_INTEGER - 2,
    "\ud800",
    {"\udfff": 1},
    {1: 2},
    {None: 1},
    {1, 2},
    b"bytes",
    1j,
]


@pytest.mark.parametrize("value", REFUSED, ids=repr)
def test_values_without_an_exact_json_form_are_refused(value: Any) -> None:
    for nested in (value, [value], {"a": [value]}):
        with pytest.raises(ValueError, match=r"."):
            canonical(nested)


def test_depth_is_bounded() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert canonical(value).startswith(b"[[")
    with pytest.raises(ValueError, match="nested deeper"):
        canonical([value])


def exact(digits: str) -> float:
    """Past 2^53 the digits are the shortest that name a double, as in every reader of JSON."""
    number = int(digits)
    return number if abs(number) <= MAX_INTEGER else float(digits)


JSON: Final = some.recursive(
    some.none()
    | some.booleans()
    | some.integers(-MAX_INTEGER, MAX_INTEGER)
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(some.characters(exclude_categories=["Cs"])),
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.dictionaries(
            some.text(some.characters(exclude_categories=["Cs"])), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(JSON)
@example({"a": 5e-324, "b": [-0.0, 1e21, 1e-7]})
def test_canonical_form_keeps_the_value_and_is_idempotent(value: Any) -> None:
    once = canonical(value)
    assert json.loads(once, parse_int=exact) == value
    assert canonical(json.loads(once)) == once


@given(some.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_back_to_the_last_bit(number: float) -> None:
    text = canonical(number).decode()
    assert float(text) == number


@given(some.dictionaries(some.text(some.characters(exclude_categories=["Cs"])), some.none()))
def test_the_order_of_members_does_not_matter(value: dict[str, None]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)
