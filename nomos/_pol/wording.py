"""How statements read: `state is "open"`, `each of to is like "*@example.com"`.

Texts are quoted and what a reader could miss in them is spelled out, so that no value passes for
the words around it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from nomos._pol.checks import Statement
from nomos._pol.patterns import read_under, read_url
from nomos._pol.selectors import Step, known, optional, strict, written
from nomos.unseen import unseen

_OPERATORS: Final = {
    "==": "is",
    "!=": "differs from",
    "like": "is like",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
}
_ANY_TEXT: Final = 'is like "*"'


def worded(pol: Sequence[Statement]) -> str:
    """All of the statements, in words."""
    return " and ".join(phrase(each) for each in pol) or "anything"


def phrase(statement: Statement, *, inside: bool = False) -> str:
    """One statement in words; `inside` is about an element of a list."""
    return _pattern(statement, inside=inside) or _plain(statement, inside=inside)


def _pattern(statement: Statement, *, inside: bool) -> str | None:
    """The words for several statements that say one thing together."""
    match statement:
        case ["and", [[">=", path, low], ["<=", other, high]]] if path == other:
            said = f"is between {_value(low)} and {_value(high)}"
        case ["and", [["!=", here, None], ["!=", path, value]]] if here == optional(path):
            said = f"is not {_value(value)}"
        case ["and", [["like", path, "*"], ["not", ["like", other, glob]]]] if path == other:
            said = f"is not like {_value(glob)}"
        case ["or", [["==", path, _], _, *_] as either] if _is_choice(either, path):
            said = f"is one of {', '.join(_value(each[2]) for each in either)}"
        case ["and", [["!=", one, []], ["!=", two, {}], ["any", path, each]]] if (
            one == two == path and statement[1][1][2] == {}
        ):
            return _quantified("some of", path, each, inside=inside)
        case _:
            return _beginning(statement, inside=inside)
    return f"{_name(path, inside=inside)} {said}"


def _beginning(statement: Statement, *, inside: bool) -> str | None:
    """The words for a path or a URL that is held to its beginning."""
    beneath, at = read_under(statement), read_url(statement)
    if beneath is not None:
        return f"{_name(beneath[0], inside=inside)} is under {_value(beneath[1])}"
    if at is None:
        return None
    asking = ", with any query" if at[1].query else ""
    return f"{_name(at[0], inside=inside)} is a URL under {_value(str(at[1]))}{asking}"


def _plain(statement: Statement, *, inside: bool) -> str:
    match statement:
        case ["and" | "or" as word, several]:
            phrases = (phrase(each, inside=inside) for each in several)
            joined = f" {word} ".join(phrases)
            return f"({joined})" if joined else "anything"
        case ["not", inner]:
            return f"not ({phrase(inner, inside=inside)})"
        case ["all", path, inner]:
            return _quantified("each of", path, inner, inside=inside)
        case ["any", path, inner]:
            return f"({_quantified('some of', path, inner, inside=inside)}, or there is none)"
    op, path, value = statement
    if op == "!=" and value is None and path == optional(path) and known(path):
        return f"{_name(strict(path), inside=inside)} is given"
    said = f"{_OPERATORS[op]} {_value(value)}"
    return f"{_name(path, inside=inside)} {'is text' if said == _ANY_TEXT else said}"


def _quantified(word: str, path: str, inner: Statement, *, inside: bool) -> str:
    told = phrase(inner, inside=True)
    about = f" {told[3:]}" if told.startswith("it is ") else f": {told}"
    return f"{word} {_name(path, inside=inside)}{about}"


def _is_choice(either: Sequence[Statement], path: str) -> bool:
    return all(each[0] == "==" and each[1] == path for each in either)


def _name(path: str, *, inside: bool) -> str:
    """An argument by its name; any other path as the selector that it is."""
    steps = known(path)
    if inside and not steps:
        return "it"
    named = steps if inside else steps[1:]
    own = inside or steps[:1] == (Step("member", "args"),)
    if own and named and all(step.plain and not step.optional for step in named):
        return written(named).removeprefix(".")
    return _safe(path)


def _value(value: Any) -> str:
    return _safe(json.dumps(value, ensure_ascii=False))


def _safe(text: str) -> str:
    """The text with what a reader could miss spelled out."""
    return "".join(json.dumps(one)[1:-1] if unseen(one) else one for one in text)
