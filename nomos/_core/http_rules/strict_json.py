"""Strict JSON parsing: text that two parsers could read differently is rejected.

That is: duplicate keys, numbers that a double cannot hold, NaN, unpaired surrogates, and keys that
are not in Unicode's composed form (NFC). The result can be compared with a token, and signed,
without changes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final, NoReturn
from unicodedata import is_normalized

from nomos._core.http_rules.shown import shown
from nomos._limits import FIRST_WITH_EXPONENT, MAX_INTEGER, MAX_REQUEST_NESTING

DUPLICATE: Final = "is there more than once"


class JsonFault(Exception):
    """The text is not an unambiguous JSON object.

    `reason` contains no text of the sender; `str()` adds the place. `path` leads to the member at
    fault; for a duplicate name it is that name only.
    """

    def __init__(self, reason: str, path: Sequence[str] = (), *, name: str | None = None) -> None:
        self.reason = reason
        self.path = tuple(path)
        place = shown(".".join(path))[1:-1]
        named = "" if name is None else f": {shown(name)}"
        super().__init__(f"{place or 'the body'} {reason}{named}")

    @property
    def fields(self) -> tuple[str, ...]:
        """The path as one field name; empty if the whole text is at fault."""
        return (".".join(self.path),) if self.path else ()


def parse(content: bytes, *, nesting: int = MAX_REQUEST_NESTING) -> dict[str, Any]:
    """Return the JSON object in `content`. Raises `JsonFault`."""
    value = decode(content)
    if not isinstance(value, dict):
        raise JsonFault("must be a JSON object")
    _check(value, (), nesting)
    return value


def decode(content: bytes | str) -> Any:
    """Return any JSON value without duplicate names or NaN. Raises `JsonFault`."""
    try:
        text = content if isinstance(content, str) else content.decode()
        return json.loads(text, object_pairs_hook=_members, parse_constant=_constant)
    except UnicodeDecodeError:
        raise JsonFault("is not UTF-8") from None
    except (ValueError, RecursionError) as failure:
        where = f": {failure}" if isinstance(failure, json.JSONDecodeError) else ""
        raise JsonFault(f"is not JSON{where}") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonFault(DUPLICATE, (twice,))
    return members


def _constant(name: str) -> NoReturn:
    raise JsonFault(f"holds {name}, and {name} is not JSON")


def _check(value: object, path: tuple[str, ...], nesting: int) -> None:
    if len(path) > nesting:
        raise JsonFault(f"is nested deeper than {nesting} levels", path[:2])
    match value:
        case dict():
            for name, item in value.items():
                if not name.isascii() and not (_encodes(name) and is_normalized("NFC", name)):
                    raise JsonFault("has a member name that is not in NFC", path, name=name)
                _check(item, (*path, name), nesting)
        case list():
            for index, item in enumerate(value):
                _check(item, (*path, str(index)), nesting)
        case _:
            problem = _problem(value)
            if problem is not None:
                raise JsonFault(problem, path)


def _problem(value: object) -> str | None:
    match value:
        case str() if not (value.isascii() or _encodes(value)):
            return "holds half of a surrogate pair"
        case int() if abs(value) > MAX_INTEGER:
            return "is an integer beyond 2^53-1; send it as a string"
        case float() if not math.isfinite(value):
            return "is a number too large for JSON"
        case float() if value.is_integer() and MAX_INTEGER < abs(value) < FIRST_WITH_EXPONENT:
            return "is an integer beyond 2^53-1; send it as a string"
    return None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
