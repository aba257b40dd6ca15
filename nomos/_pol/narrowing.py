"""Comparison of statements: whether one permits no more values at a path than another.

There are two methods. By form: an interval within another, a path under another. By example: a
value that one permits and the other does not proves that it is wider. What neither decides stays
undecided; a chain that carries both statements is narrower in any case.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from nomos._pol.checks import ORDERS, Statement
from nomos._pol.patterns import escaped, fits, pieces, read_under, read_url
from nomos._pol.selectors import first_each, known, strict
from nomos._pol.values import same

_ODD: Final = "\u00a4"
"""A placeholder for any text: a character that few patterns name."""

_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Wider:
    """The requested statements at a path, and a held statement that does not permit all of them."""

    asked: list[Statement]
    held: Statement


def narrower(asked: Sequence[Statement], held: Sequence[Statement]) -> bool | None:
    """Whether every value that fulfils `asked` fulfils `held`; None if it cannot be decided."""
    found = [_within(_about(asked, each), asked, each) for each in _flat(held)]
    return False if False in found else None if None in found else True


def wider(asked: Sequence[Statement], held: Sequence[Statement]) -> Wider | None:
    """Return the first statement of `held` that the requested ones on the same path exceed."""
    for each in _flat(held):
        about = _about(asked, each)
        if about and _within(about, asked, each) is False:
            return Wider(about, each)
    return None


def _within(about: Sequence[Statement], asked: Sequence[Statement], held: Statement) -> bool | None:
    """Whether `asked`, of which `about` is on the path of `held`, implies `held`."""
    if any(same(each, held) for each in asked):
        return True
    path = _path(held)
    if path is None or not about:
        return None
    for value in _examples(about):
        if all(_holds(each, value) for each in about) and not _holds(held, value):
            return False
    values = _choices(about)
    if values is not None:
        return True  # all of them were tried as examples
    return True if any(_implies(each, held) for each in (*about, _interval(about))) else None


def _about(pol: Sequence[Statement], held: Statement) -> list[Statement]:
    """Return the statements about the path of `held` only, which need a value there."""
    path = _path(held)
    if path is None:
        return []
    return [
        each
        for each in _flat(pol)
        if _path(each) == path and not (_is_optional(each) and _holds(each, None))
    ]


def _flat(pol: Sequence[Statement]) -> Iterator[Statement]:
    """Yield each statement by itself, except those that have a meaning only together."""
    for statement in pol:
        match statement:
            case ["and", several] if not (read_under(statement) or read_url(statement)):
                yield from _flat(several)
            case _:
                yield statement


def _path(statement: Statement) -> str | None:
    """Return the only path that a statement is about; None if there are several, or none.

    A path with `[]` counts as several: what it finds is not a value in the call.
    """
    match statement:
        case ["and" | "or", several]:
            paths = {_path(each) for each in several}
            return paths.pop() if len(paths) == 1 else None
        case ["not", inner]:
            return _path(inner)
        case ["all" | "any", *_]:
            return None
    steps = known(statement[1])
    return strict(statement[1]) if first_each(steps) == len(steps) else None


def _is_optional(statement: Statement) -> bool:
    """Whether a statement about one path finds null if nothing is there."""
    match statement:
        case ["and" | "or", several]:
            return any(_is_optional(each) for each in several)
        case ["not", inner]:
            return _is_optional(inner)
    return any(step.optional for step in known(statement[1]))


def _holds(statement: Statement, value: Any) -> bool:
    """Whether a statement about one path holds for a value there."""
    match statement:
        case ["and", several]:
            return all(_holds(each, value) for each in several)
        case ["or", several]:
            return not several or any(_holds(each, value) for each in several)
        case ["not", inner]:
            return not _holds(inner, value)
        case ["==" | "!=" as op, _, other]:
            return same(other, value) is (op == "==")
    return _compares(statement, value)


def _compares(statement: Statement, value: Any) -> bool:
    op, _, other = statement
    if op == "like":
        return isinstance(value, str) and fits(other, value)
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and bool(_COMPARE[op](value, other))


def _choices(about: Sequence[Statement]) -> list[Any] | None:
    """Return the only values that are permitted, None if they are not listed."""
    for statement in about:
        match statement:
            case ["==", _, value]:
                return [value]
            case ["or", [*either]] if either and all(each[0] == "==" for each in either):
                return [each[2] for each in either]
            case ["like", _, glob] if len(pieces(glob)) == 1:
                return pieces(glob)
    return None


def _examples(about: Sequence[Statement]) -> Iterator[Any]:
    """Yield values that the statements may permit, at their limits first."""
    yield from _choices(about) or ()
    numbers = []
    for statement in about:
        beneath, at = read_under(statement), read_url(statement)
        if beneath is not None:
            yield beneath[1]
            yield f"{beneath[1].removesuffix('/')}/{_ODD}"
        elif at is not None:
            yield str(at[1])
            for end in ("/", f"/{_ODD}", f"/{_ODD}?{_ODD}"):
                yield f"{at[1]}{end}"
        elif statement[0] == "like":
            yield "".join(pieces(statement[2]))
            yield _ODD.join(pieces(statement[2]))
        elif statement[0] in ORDERS:
            numbers.append(statement[2])
    yield from _numbers(numbers)


def _numbers(bounds: Sequence[int | float]) -> Iterator[int | float]:
    """Yield numbers at the limits of intervals, between them, and beyond them."""
    ordered = sorted(bounds)
    yield from ordered
    yield from ((low + high) / 2 for low, high in pairwise(ordered))
    if ordered:
        yield from (-1e300, ordered[0] - 1, ordered[-1] + 1, 1e300)


def _interval(about: Sequence[Statement]) -> Statement:
    """Return the limits for numbers as one statement."""
    return ["and", [each for each in about if each[0] in ORDERS]]


def _implies(asked: Statement, held: Statement) -> bool:
    """Whether the form of a statement shows that it is within another on the same path."""
    inner, outer = read_under(asked), read_under(held)
    if inner and outer:
        return outer[1] == "/" or f"{inner[1]}/".startswith(f"{outer[1]}/")
    one, other = read_url(asked), read_url(held)
    if one and other:
        (_, near), (_, far) = one, other
        path = f"{near.path}/".startswith(f"{far.path}/")
        return near.origin == far.origin and path and (far.query or not near.query)
    if held[0] == "like":
        return _fits_all(asked, pieces(held[2]))
    bounds = asked[1] if asked[0] == "and" else []
    return held[0] in ORDERS and any(_bound(each, held) for each in bounds if each[0] in ORDERS)


def _fits_all(asked: Statement, held: Sequence[str]) -> bool:
    """Whether all texts that a statement permits match a pattern of a beginning and an end."""
    if len(held) != 2:
        return False
    beneath, at = read_under(asked), read_url(asked)
    if beneath is not None:
        asked = ["like", "", f"{escaped(beneath[1].removesuffix('/'))}*"]
    elif at is not None:
        asked = ["like", "", f"{escaped(str(at[1]))}*"]
    if asked[0] != "like":
        return False
    mine = pieces(asked[2])
    return len(mine) > 1 and mine[0].startswith(held[0]) and mine[-1].endswith(held[1])


def _bound(asked: Statement, held: Statement) -> bool:
    """Whether one limit is within another on the same side."""
    (order, _, near), (limit, _, far) = asked, held
    if order[0] != limit[0]:
        return False
    if near == far:
        return limit in (order, f"{order[0]}=")
    return bool(_COMPARE[order[0]](near, far))
