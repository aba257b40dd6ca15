"""Reading of UCAN 1.0 policy, to build on its statements and to word them.

The statements are copied, and their size is limited. Whether a token can have them is decided by
the signing binary (`ucan-bin/src/verify/pol.ts`); here an unknown operator is an error because it
can be neither negated nor worded.
"""

from __future__ import annotations

from typing import Any, Final

from nomos._limits import MAX_STATEMENTS
from nomos._pol.selectors import MAX_SELECTOR, steps
from nomos._pol.values import bounded, exact, plain, refuse, text

MAX_BYTES: Final = 8 * 1024  # bytes of all statements as JSON
MAX_LEVELS: Final = 14
"""Levels of nested lists and objects: a request may have 16, and contains these."""

Statement = list[Any]

ORDERS: Final = ("<", "<=", ">", ">=")
ABOUT: Final = ("==", "!=", *ORDERS, "like", "all", "any")
JOINED: Final = ("and", "or")


def policy(pol: object, *, where: str = "pol") -> list[Statement]:
    """Return the statements in a token's form; `ConfigurationError` has the place, `pol[0][1]`."""
    read = limited(pol, where=where)
    for index, statement in enumerate(read):
        _check(statement, f"{where}[{index}]")
    return read


def limited(pol: object, *, where: str = "pol") -> list[Any]:
    """Copy a list of JSON values, form unchecked; `ConfigurationError` at `where` if too large."""
    if not isinstance(pol, list | tuple):
        refuse(where, 'must be a list of statements such as [["==", ".args.state", "open"]]')
    if len(pol) > MAX_STATEMENTS:
        refuse(where, f"must have at most {MAX_STATEMENTS} statements")
    read: list[Any] = exact(plain(pol, where, MAX_LEVELS))
    size = len(text(read).encode())
    if size > MAX_BYTES:
        refuse(where, f"has {size} bytes as JSON; the limit is {MAX_BYTES}")
    bounded(read, where)
    return read


def conjunction(statements: list[Statement]) -> Statement:
    """Return one statement for several that must all hold."""
    return statements[0] if len(statements) == 1 else ["and", statements]


def _check(statement: Any, where: str) -> None:
    match statement:
        case [op, *_] if op in JOINED:
            _check_joined(statement, where)
        case ["not", inner]:
            _check(inner, f"{where}[1]")
        case ["not", *_]:
            refuse(where, 'is not ["not", statement]')
        case [op, *operands] if op in ABOUT:
            _check_about(op, operands, where)
        case [op, *_]:
            shown = text(op)[:16]
            refuse(where, f"begins with {shown}, which is not one of {', '.join(_OPERATORS)}")
        case _:
            refuse(where, "is not a statement")


def _check_joined(statement: Statement, where: str) -> None:
    match statement:
        case [_, [*inner]]:
            for index, each in enumerate(inner):
                _check(each, f"{where}[1][{index}]")
        case _:
            refuse(where, f'is not ["{statement[0]}", [statements]]')


def _check_about(op: str, operands: list[Any], where: str) -> None:
    match operands:
        case [str(path), operand]:
            if len(path) > MAX_SELECTOR or steps(path) is None:
                refuse(where, "has no selector, such as .args.title, .[0] or .to[]")
            if op in ORDERS and (isinstance(operand, bool) or not isinstance(operand, int | float)):
                refuse(where, f'is not ["{op}", selector, number]')
            if op == "like" and not isinstance(operand, str):
                refuse(where, 'is not ["like", selector, pattern]')
            if op in ("all", "any"):
                _check(operand, f"{where}[2]")
        case _:
            refuse(where, f'is not ["{op}", selector, operand]')


_OPERATORS: Final = (*ABOUT, *JOINED, "not")
