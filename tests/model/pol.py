"""An implementation of `pol` from the specification of UCAN delegation 1.0 and its vectors.

What does not resolve makes its statement false; `or` of nothing and `any` over nothing hold.
"""

from __future__ import annotations

import base64
import functools
import json
import operator
import re
import unicodedata
from typing import Any, Final, NoReturn

from model.canonical import canon

INT: Final = "-?[0-9]{1,15}"
STEP: Final = re.compile(
    rf"""(?: \.(?P<name> [^.\[?]+) | \.?\[ (?: (?P<key> "(?:[^"\\]|\\.)*") | (?P<at> {INT})
        | (?P<slice> {INT}:(?:{INT})? | :{INT}) | (?P<each>) ) \] ) (?P<optional> \?*)""",
    re.VERBOSE,
)
ORDERS: Final = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}

Step = tuple[Any, bool]
"""What to take (a name, an index, a slice, `...` for each), and whether it is optional."""


def is_statement(it: Any) -> bool:
    match it:
        case ["and" | "or", list(parts)]:
            return all(map(is_statement, parts))
        case ["not", inner]:
            return is_statement(inner)
        case [str(name), str(path), value] if selector(path) is not None:
            return (
                name in ("==", "!=")
                or (name in ORDERS and is_number(value))
                or (name == "like" and isinstance(value, str))
                or (name in ("all", "any") and is_statement(value))
            )
    return False


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@functools.lru_cache(4096)
def selector(text: str) -> tuple[Step, ...] | None:
    """Return the steps of a selector, or None if it is none."""
    steps: list[Step] = []
    at = len(text) if re.fullmatch(r"\.\?*", text) else 0
    while at < len(text):
        found = STEP.match(text, at)
        if not found or text[0] != ".":
            return None
        try:
            steps.append((taken(found), bool(found["optional"])))
        except ValueError:
            return None
        at = found.end()
    return tuple(steps) if text else None


def taken(found: re.Match[str]) -> Any:
    if name := found["name"]:
        plain = name.replace("_", "a").replace("$", "1").replace("-", "1")
        kinds = [unicodedata.category(letter)[0] for letter in plain]
        if kinds[0] != "L" or not set(kinds) <= set("LMN"):
            raise ValueError("a name that must be quoted")
        return name
    if found["slice"]:
        return slice(*(int(end) if end else None for end in found["slice"].split(":")))
    if found["at"]:
        return int(found["at"])
    return json.loads(found["key"]) if found["key"] else ...


def resolve(steps: tuple[Step, ...], value: Any, *, within: bool = False) -> Any:
    """Return what the steps lead to; `within` an iterator, the list of what is added to it."""
    for after, (step, optional) in enumerate(steps, 1):
        try:
            value = elements(value) if step is ... else take(step, value)
        except LookupError:
            if not optional:
                raise
            value = None
        if step is ... and value is not None:
            return [got for one in value for got in resolve(steps[after:], one, within=True)]
        if step is ... and within:
            resolve(steps[after:], None)
            return []
    return [value] if within else value


def take(step: Any, value: Any) -> Any:
    data = as_bytes(value)
    sequence = data if data is not None else value
    fits = isinstance(sequence, dict if isinstance(step, str) else list | str | bytes)
    part = sequence[step] if fits else nothing(step)
    return from_bytes(part) if isinstance(part, bytes) else part


def nothing(step: Any) -> NoReturn:
    raise LookupError(step)


def elements(value: Any) -> list[Any]:
    """Return the elements of a list, or the values of a map in the order of RFC 8785."""
    if isinstance(value, dict) and as_bytes(value) is None:
        return [value[name] for name in sorted(value, key=lambda name: name.encode("utf-16-be"))]
    return value if isinstance(value, list) else nothing(...)


def as_bytes(value: Any) -> bytes | None:
    """Read bytes in the form of DAG-JSON: base64 without padding."""
    try:
        data = base64.b64decode(value["/"]["bytes"] + "==")
    except (LookupError, TypeError, ValueError):
        return None
    return data if from_bytes(data) == value else None


def from_bytes(data: bytes) -> dict[str, Any]:
    return {"/": {"bytes": base64.b64encode(data).decode().rstrip("=")}}


def holds(it: Any, subject: Any) -> bool:
    name, *rest = it
    if name in ("not", "!="):
        return not holds(rest[0] if name == "not" else ["==", *rest], subject)
    try:
        if name in ("and", "or"):
            results = [holds(part, subject) for part in rest[0]]
        else:
            value = resolve(selector(rest[0]) or (), subject)
            each = elements(value) if name in ("all", "any") else []
            results = [holds(rest[1], one) for one in each]
    except LookupError:
        return False
    if name in ("and", "all"):
        return all(results)
    if name in ("or", "any"):
        return not results or any(results)
    return compares(name, value, rest[1])


def compares(name: str, value: Any, wanted: Any) -> bool:
    if name == "==":
        return canon(value) == canon(wanted)
    if name == "like":
        return isinstance(value, str) and glob(wanted).fullmatch(value) is not None
    return is_number(value) and ORDERS[name](value, wanted)


@functools.lru_cache(4096)
def glob(pattern: str) -> re.Pattern[str]:
    """Read a pattern: `*` is any text, an escaped one a star, and nothing else is special."""
    spelled = {"*": ".*", "\\*": r"\*"}
    parts = (spelled.get(part, re.escape(part)) for part in re.split(r"(\\\*|\*)", pattern))
    return re.compile("".join(parts), re.DOTALL)
