"""Negations and element statements that do not hold for missing arguments.

In UCAN 1.0 a `not` holds for a missing path, and for a text that is compared with a number. Here a
negation is applied to each comparison, which still needs a value of its type: the negation of `at
most 5` is `more than 5`.
"""

from __future__ import annotations

from typing import Any, Final

from nomos._pol.checks import Statement, conjunction
from nomos._pol.selectors import known, loose, optional, strict, within_element
from nomos._pol.values import refuse

_OPPOSITE: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def unlike(path: str, value: Any) -> Statement:
    """Return the statement that a path is there, is not null, and differs from this value."""
    if any(step.kind == "each" for step in known(path)):
        refuse(path, "cannot be negated through []: use each or some")
    if not known(path):  # the element itself, which is always there
        return ["!=", path, value]
    given: Statement = ["!=", optional(path), None]
    return given if value is None else ["and", [given, ["!=", path, value]]]


def some(path: str, inner: Statement) -> Statement:
    """Return the statement for at least one element; an `any` alone holds for an empty list."""
    return ["and", [*_filled(path), ["any", path, inner]]]


def _filled(path: str) -> list[Statement]:
    _refuse_loose(path)
    return [["!=", path, []], ["!=", path, {}]]


def element(pol: list[Statement]) -> Statement:
    """Turn statements about arguments into one about an element: `.args.name` becomes `.name`."""
    return conjunction([_moved(statement) for statement in pol])


def negated(statement: Statement) -> Statement:
    """Return the statement that holds where this one does not, for values of the same type."""
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
            # An `any` alone holds for an empty list, so its negation must not.
            of: Statement = ["any" if word == "all" else "all", path, negated(inner)]
            return ["and", [*_filled(path), of]]
    word, of = statement
    return list(of) if word == "not" else _opposed(word, of)


def _refuse_loose(path: str) -> None:
    if loose(known(path)):
        refuse(path, "cannot be negated with a ? at or after []: use each or some")


def _opposed(word: str, several: list[Statement]) -> Statement:
    """Return the negation of an `and` or `or`, without parts that only guard against absence."""
    if not several:
        refuse("not_", "cannot negate an always-true constraint")
    if word == "or":
        return conjunction([negated(each) for each in several])
    kept = [each for each in several if not _guards(each, several)] or several
    either = [_negated_beside(each, several) for each in kept]
    return either[0] if len(either) == 1 else ["or", either]


def _negated_beside(statement: Statement, beside: list[Statement]) -> Statement:
    """Return the negation of a statement beside others, which may guard an `any` in it."""
    match statement:
        case ["any", path, inner] if all(each in beside for each in _filled(path)):
            return ["all", path, negated(inner)]
    return negated(statement)


def _guards(statement: Statement, beside: list[Statement]) -> bool:
    """Whether a statement only ensures that another one beside it has a value."""
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
    """Return the statement about an element; those inside `all` and `any` are so already."""
    match statement:
        case ["and" | "or" as word, several]:
            return [word, [_moved(each) for each in several]]
        case ["not", inner]:
            return ["not", _moved(inner)]
    op, path, operand = statement
    return [op, within_element(path), operand]
