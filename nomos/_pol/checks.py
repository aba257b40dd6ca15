"""Whether a list is UCAN 1.0 policy, as the verifier reads it; see `ucan-bin/src/verify/pol.ts`.

What is read is copied and bounded. An operator that is not in the table is refused: skipping a
statement that is not understood would widen what it narrows.
"""

from __future__ import annotations

from typing import Any, Final

from nomos._pol.selectors import MAX_SELECTOR, steps
from nomos._pol.values import bounded, exact, plain, refuse, text

MAX_STATEMENTS: Final = 100
"""In one list; what stands within others is bounded by the size of all."""

MAX_BYTES: Final = 8 * 1024
"""Of the statements as JSON."""

MAX_LEVELS: Final = 14
"""Lists and objects in one another: a request has 16, and these stand in one."""

Statement = list[Any]

ORDERS: Final = ("<", "<=", ">", ">=")
ABOUT: Final = ("==", "!=", *ORDERS, "like", "all", "any")
JOINED: Final = ("and", "or")


def policy(pol: object, *, where: str = "pol") -> list[Statement]:
    """Return the statements, as a token carries them.

    Raises `ConfigurationError` whose `setting` says where: `pol[0][1]`.
    """
    if not isinstance(pol, list | tuple):
        refuse(where, 'must be a list of statements such as [["==", ".args.state", "open"]]')
    if len(pol) > MAX_STATEMENTS:
        refuse(where, f"must have at most {MAX_STATEMENTS} statements")
    read: list[Statement] = exact(plain(pol, where, MAX_LEVELS))
    size = len(text(read).encode())
    if size > MAX_BYTES:
        refuse(where, f"is {size} bytes as JSON, and {MAX_BYTES} is the most")
    bounded(read, where)
    for index, statement in enumerate(read):
        _check(statement, f"{where}[{index}]")
    return read


def conjunction(statements: list[Statement]) -> Statement:
    """One statement for several that must all hold."""
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
            refuse(where, f"begins with {shown}, which is none of {', '.join(_OPERATORS)}")
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
