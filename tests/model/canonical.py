"""JSON of tokens: strict parsing, and the canonical form of RFC 8785."""

from __future__ import annotations

import json
import unicodedata
from json.encoder import encode_basestring
from typing import Any, Final, NoReturn

MAX_INT, MAX_DEPTH, MAX_BITS = 2**53 - 1, 32, 1023


def read(text: bytes) -> Any:
    """Parse a token's JSON; ValueError if it is not in its canonical form."""
    try:
        value = READER.decode(text.decode())
    except RecursionError:
        return never("nested too deep")
    return value if canon(value).encode() == text else never("not canonical")


def never(reason: str) -> NoReturn:
    raise ValueError(reason)


def whole(text: str) -> int:
    return int(text) if abs(int(text)) <= MAX_INT else never("not read exactly by all")


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    fine = len(value) == len(pairs) and all(unicodedata.is_normalized("NFC", n) for n in value)
    return value if fine else never("a name twice, or not in normal form")


READER: Final = json.JSONDecoder(parse_int=whole, parse_constant=never, object_pairs_hook=members)


def canon(value: Any, room: int = MAX_DEPTH) -> str:
    """Write a value; ValueError if it nests more than `room` levels or is no JSON."""
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return number(value)
    if room == 0:
        never("nested too deep")
    if isinstance(value, list):
        return f"[{','.join(canon(one, room - 1) for one in value)}]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    pairs = (f"{encode_basestring(name)}:{canon(value[name], room - 1)}" for name in names)
    return f"{{{','.join(pairs)}}}"


def number(value: float) -> str:
    """Write a number as ECMAScript does; Python's digits are the same, its exponents are not."""
    if abs(value) < 10**21 and value == int(value):
        return str(int(value))
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        never("beyond all doubles")
    digits, _, power = repr(float(value)).partition("e")
    if "n" in digits:
        never("an infinity, or not a number")
    if power and -6 <= int(power) < 0:
        sign = "-" * (value < 0)
        return f"{sign}0.{'0' * (-int(power) - 1)}{digits.strip('-').replace('.', '')}"
    return f"{digits}e{int(power):+d}" if power else digits
