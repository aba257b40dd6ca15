"""Canonical JSON: the JSON Canonicalization Scheme, RFC 8785.

Values that the scheme cannot carry exactly raise `ValueError`: NaN and infinities, integers beyond
2^53-1 (I-JSON, RFC 7493 section 2.2), unpaired surrogates, and keys that are not strings. Integers
that a double is written as are an exception: 1e20 is written as 21 digits, which are read as an
integer, and writing that again must give the same text.
"""

from __future__ import annotations

import json
import math
from operator import methodcaller
from typing import Any, Final

from nomos._limits import FIRST_WITH_EXPONENT, MAX_INTEGER

MAX_DEPTH: Final = 64

_code_units: Final = methodcaller("encode", "utf-16-be", "surrogatepass")
"""The order of a text: UTF-16 (RFC 8785, section 3.2.3), unlike Python's beyond U+FFFF."""

_plain: Final = json.JSONEncoder(ensure_ascii=False).encode
"""Writes text, and the names of true, false and null."""


def canonical(value: Any) -> bytes:
    """Return the canonical form of a JSON value, in UTF-8; raise `ValueError` if it has none."""
    try:
        return _write(value, 0).encode()
    except UnicodeEncodeError:
        raise ValueError("a string has half of a surrogate pair") from None


def _write(value: Any, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    match value:
        case None | bool() | str():
            return _plain(value)
        case int():
            return _integer(int(value))
        case float():
            return _number(value)
        case list() | tuple():
            return f"[{','.join(_write(item, depth + 1) for item in value)}]"
        case dict():
            return f"{{{','.join(_members(value, depth))}}}"
    raise ValueError(f"{type(value).__name__} is not JSON")


def _members(value: dict[Any, Any], depth: int) -> list[str]:
    try:
        names = sorted(value, key=_code_units)
    except AttributeError:
        raise ValueError("a member's name is not a string") from None
    return [f"{_plain(name)}:{_write(value[name], depth + 1)}" for name in names]


def _integer(value: int) -> str:
    if abs(value) <= MAX_INTEGER:
        return str(value)
    if abs(value) < FIRST_WITH_EXPONENT and _number(float(value)) == str(value):
        return str(value)
    raise ValueError("an integer beyond 2^53-1")


def _number(value: float) -> str:
    """Format as ECMAScript's Number::toString (RFC 8785, section 3.2.2.3), from Python's digits."""
    if not math.isfinite(value):
        raise ValueError("JSON has no NaN and no infinities")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    point = len(whole) - leading + int(exponent or 0)
    digits = digits.rstrip("0")
    return sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    """Write 0.`digits` times ten to the power of `point` as ECMAScript does."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    head = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{head}e{'+' if point > 0 else '-'}{abs(point - 1)}"
