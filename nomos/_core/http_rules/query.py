"""Parameters of a URL's query or of a form: each at most once, in strict percent-encoding."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from nomos._limits import MAX_INTEGER

MAX_PARAMETERS: Final = 64

MALFORMED: Final = "must be name=value pairs in percent-encoded UTF-8"

_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,15}")

_FORMS: Final[Mapping[type, str]] = {
    int: "a whole number in decimal digits",
    bool: "true or false",
}


class QueryFault(Exception):
    """An ambiguous or malformed query; `name` is the parameter at fault, if there is one."""

    def __init__(self, reason: str, name: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.name = name


def parameters(
    query: bytes, *, takes: Collection[str] | None = None, most: int = MAX_PARAMETERS
) -> dict[str, str]:
    """Return a query's parameters; `QueryFault` if it is ambiguous or has one not in `takes`."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=most,
        )
    except ValueError:
        raise QueryFault(f"{MALFORMED}, at most {most} of them") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise QueryFault("is given more than once", name)
        if takes is not None and name not in takes:
            raise QueryFault("is not a parameter of this request", name)
        found[name] = value
    return found


def whole_number(text: str) -> int | None:
    """Return a canonical whole number (no `+`, no leading zeros) that a double holds, or None."""
    number = int(text) if _WHOLE.fullmatch(text) else None
    return number if number is not None and abs(number) <= MAX_INTEGER else None


def typed(name: str, text: str, kind: type[str | int | bool]) -> Any:
    """Return a parameter as its type; each value has only one spelling. Raises `QueryFault`."""
    value: str | int | bool | None = text
    if kind is bool:
        value = {"true": True, "false": False}.get(text)
    elif kind is int:
        value = whole_number(text)
    if value is None:
        raise QueryFault(f"must be {_FORMS[kind]}", name)
    return value
