"""Statements about what is there: negations that nothing missing fulfils, and elements.

A `not` of UCAN 1.0 holds for a path that is missing and for a text that is compared with a
number. Here a negation is pushed down to the comparisons, each of which still asks for a value
of its kind: the negation of `at most 5` is `more than 5`.
"""

from __future__ import annotations

from typing import Any, Final

from nomos._pol.checks import Statement, conjunction
from nomos._pol.selectors import known, loose, optional, strict, within_element
from nomos._pol.values import refuse

_OPPOSITE: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def unlike(path: str, value: Any) -> Statement:
    """The statement that a path is there, is not null, and is not this value."""
    if any(step.kind == "each" for step in known(path)):
        refuse(path, "cannot be negated through []: use each or some")
    if not known(path):  # the element itself, which is always there
        return ["!=", path, value]
    given: Statement = ["!=", optional(path), None]
    return given if value is None else ["and", [given, ["!=", path, value]]]


def some(path: str, inner: Statement) -> Statement:
    """The statement that at least one element is such; an `any` holds over nothing too."""
    return ["and", [*_filled(path), ["any", path, inner]]]


def _filled(path: str) -> list[Statement]:
    _refuse_loose(path)
    return [["!=", path, []], ["!=", path, {}]]


def element(pol: list[Statement]) -> Statement:
    """Statements about arguments as one about an element: `.args.name` becomes `.name`."""
    return conjunction([_moved(statement) for statement in pol])


def negated(statement: Statement) -> Statement:
    """The statement that holds where this one does not, of what is there and of its kind."""
    match statement:
        case ["==", path, value]:
            return unlike(path, value)
        case ["!=", path, value]:
            return ["==", strict(path), value]
        case ["<" | "<=" | ">" | ">=" as order, path, value]:
            return [_OPPOSITE[order], path, value]
        case ["like", path, _]:
            _refuse_loose(path)
            return ["and", [["like", path, "*"], ["not", statement]]]
        case ["all" | "any" as word, path, inner]:
            # An `any` by itself holds over nothing, so its negation does not.
            of: Statement = ["any" if word == "all" else "all", path, negated(inner)]
            return ["and", [*_filled(path), of]]
    word, of = statement
    return list(of) if word == "not" else _opposed(word, of)


def _refuse_loose(path: str) -> None:
    if loose(known(path)):
        refuse(path, "cannot be held to what is there with a ? at or behind []: use each or some")


def _opposed(word: str, several: list[Statement]) -> Statement:
    """The negation of an `and` or an `or`, without what an `and` has only for safety."""
    if not several:
        refuse("not_", "cannot negate what holds for every call")
    if word == "or":
        return conjunction([negated(each) for each in several])
    kept = [each for each in several if not _guards(each, several)] or several
    either = [_negated_beside(each, several) for each in kept]
    return either[0] if len(either) == 1 else ["or", either]


def _negated_beside(statement: Statement, beside: list[Statement]) -> Statement:
    """The negation of a statement; over nothing it holds where an `any` beside others does not."""
    match statement:
        case ["any", path, inner] if all(each in beside for each in _filled(path)):
            return ["all", path, negated(inner)]
    return negated(statement)


def _guards(statement: Statement, beside: list[Statement]) -> bool:
    """Whether a statement only makes sure that there is something for another beside it."""
    match statement:
        case ["!=", path, None]:
            return any(
                each[0] == "!=" and each is not statement and path == optional(each[1])
                for each in beside
            )
        case ["like", path, "*"]:
            return any(each[0] == "not" and each[1][:2] == ["like", path] for each in beside)
        case ["!=", path, list() | dict() as empty] if not empty:
            filled = any(each[:2] == ["any", path] for each in beside)
            return filled and all(each in beside for each in _filled(path))
    return False


def _moved(statement: Statement) -> Statement:
    """What is within `all` and `any` is about their elements already."""
    match statement:
        case ["and" | "or" as word, several]:
            return [word, [_moved(each) for each in several]]
        case ["not", inner]:
            return ["not", _moved(inner)]
    op, path, operand = statement
    return [op, within_element(path), operand]
