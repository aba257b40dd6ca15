"""JSON values that a token can hold: copied, limited and in exact form."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from nomos._limits import FIRST_WITH_EXPONENT, MAX_INTEGER
from nomos.errors import ConfigurationError

MAX_TEXT: Final = 1024  # characters of one text in a statement


def plain(value: object, where: str, levels: int, level: int = 0) -> Any:
    """Copy a JSON value, nested up to `levels` deep; else raise `ConfigurationError` at `where`."""
    if level > levels:
        refuse(where, f"must have at most {levels} levels")
    if value is None or isinstance(value, bool | int | float):
        return _scalar(value, where)
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value):
            refuse(where, "has half of a surrogate pair")
        return value
    if isinstance(value, list | tuple):
        return [plain(each, where, levels, level + 1) for each in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {
            plain(name, where, levels): plain(each, where, levels, level + 1)
            for name, each in value.items()
        }
    return refuse(where, "must be a plain JSON value")


def bounded(value: object, where: str) -> None:
    """Refuse texts that are too long, and names that a token cannot have."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            refuse(where, f"has a text of {len(value)} characters; the limit is {MAX_TEXT}")
    elif isinstance(value, list):
        for each in value:
            bounded(each, where)
    elif isinstance(value, dict):
        for name, each in value.items():
            bounded(name, where)
            if unicodedata.normalize("NFC", name) != name:
                refuse(where, "has a name that is not in Unicode normalisation form C")
            bounded(each, where)


def exact(value: Any) -> Any:
    """Return the value as a token carries it: 9.0 is written as 9, and -0.0 as 0."""
    match value:
        case dict():
            return {name: exact(each) for name, each in value.items()}
        case list():
            return [exact(each) for each in value]
        case float() if value.is_integer() and abs(value) <= MAX_INTEGER:
            return int(value)
    return value


def number(value: object, where: str) -> int | float:
    """Return the value if it is a number that every JSON reader reads alike; raise otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(where, f"must be a number, not {_KINDS.get(type(value), 'this')}")
    found: int | float = exact(_scalar(value, where))
    return found


def text(value: Any) -> str:
    """Return the same text for equal JSON values, in which 1 is not true."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def refuse(where: str, sentence: str) -> NoReturn:
    raise ConfigurationError(f"{where} {sentence}", setting=where)


def _scalar(value: Any, where: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        refuse(where, "must be a plain JSON value, which NaN and infinities are not")
    large = isinstance(value, int) and abs(value) > MAX_INTEGER
    whole = isinstance(value, float) and value.is_integer()
    if large or (whole and MAX_INTEGER < abs(value) < FIRST_WITH_EXPONENT):
        refuse(
            where, "must have integers within ±(2^53-1) only, which every JSON reader reads alike"
        )
    return value


_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
