"""How statements read: `state is "open"`, `each of to is like "*@example.com"`.

Texts are quoted and what a reader could miss in them is spelled out, so that no value passes for
the words around it.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

from nomos._pol.checks import Statement
from nomos._pol.patterns import read_under, read_url
from nomos._pol.selectors import Step, first_each, known, optional, strict, written
from nomos.invisible_text import is_invisible

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
_QUANTIFIED: Final = ("each of ", "some of ")

_QUOTES: Final = frozenset(
    "\u02b9\u02ba\u02bc\u02dd\u02ee\u02f6\u030b\u030e\u05f2\u05f4\u1cd3\u2032\u2033\u2034\u2035\u2036"
    "\u2037\u2057\u201a\u201e\u275b\u275c\u275d\u275e\u2e42\u3003\u301d\u301e\u301f\uff02\uff07"
    "\U0001f676\U0001f677\U0001f678"
)
"""What looks like the quote at a text's end, or does so twice, besides what Unicode calls one."""


def worded(pol: Sequence[Statement]) -> str:
    """All of the statements, in words."""
    return _joined("and", pol, inside=False) or "anything"


def phrase(statement: Statement, *, inside: bool = False) -> str:
    """One statement in words; `inside` is about an element of a list."""
    return _pattern(statement, inside=inside) or _plain(statement, inside=inside)


def about(statement: Statement) -> str | None:
    """The selector of the one path that all of a statement is about; None if it has no one."""
    match statement:
        case ["and" | "or", several]:
            paths = {_strictly(each) for each in several}
            return paths.pop() if len(paths) == 1 else None
        case ["not", inner]:
            return _strictly(inner)
    path: str = statement[1]
    return path


def there(path: str, found: str) -> str:
    """What is at a path: `n is 11`. `found` is the JSON text of what is there."""
    return f"{_name(path, inside=False)} is {_safe(found)}"


def _pattern(statement: Statement, *, inside: bool) -> str | None:
    """The words for several statements that say one thing together."""
    match statement:
        case ["and", [[">=", path, low], ["<=", other, high]]] if path == other:
            said = f"is between {_value(low)} and {_value(high)}"
        case ["and", [["!=", here, None], ["!=", path, value]]] if here == optional(
            path
        ) and _is_one(path):
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
            joined = _joined(word, several, inside=inside)
            return f"({joined})" if joined else "anything"
        case ["not", inner]:
            return f"not ({phrase(inner, inside=inside)})"
        case ["all", path, inner]:
            return _quantified("each of", path, inner, inside=inside)
        case ["any", path, inner]:
            return f"({_quantified('some of', path, inner, inside=inside)}, or there is none)"
    op, path, value = statement
    if op == "!=" and value is None and path == optional(path) and known(path) and _is_one(path):
        return f"{_name(strict(path), inside=inside)} is given"
    said = f"{_OPERATORS[op]} {_value(value)}"
    return f"{_name(path, inside=inside)} {'is text' if said == _ANY_TEXT else said}"


def _joined(word: str, several: Sequence[Statement], *, inside: bool) -> str:
    """The statements with `and` or `or` between them, none of which reaches into another."""
    told = [phrase(each, inside=inside) for each in several]
    if len(told) > 1:
        told = [f"({one})" if one.startswith(_QUANTIFIED) else one for one in told]
    return f" {word} ".join(told)


def _quantified(word: str, path: str, inner: Statement, *, inside: bool) -> str:
    told = phrase(inner, inside=True)
    about = f" {told[3:]}" if told.startswith("it is ") else f": {told}"
    return f"{word} {_name(path, inside=inside)}{about}"


def _strictly(statement: Statement) -> str | None:
    path = about(statement)
    return None if path is None else strict(path)


def _is_choice(either: Sequence[Statement], path: str) -> bool:
    return all(each[0] == "==" and each[1] == path for each in either)


def _name(path: str, *, inside: bool) -> str:
    """An argument by its name; any other path as the selector that it is."""
    steps = known(path)
    if inside and not steps:
        return "it"
    named = steps if inside else steps[1:]
    if inside and named[:1] == (Step("member", "it"),):
        return _safe(path)  # its member `it`, which is not the element
    own = inside or steps[:1] == (Step("member", "args"),)
    if own and named and all(step.plain and not step.optional for step in named):
        return written(named).removeprefix(".")
    return _safe(path)


def _is_one(path: str) -> bool:
    steps = known(path)
    return first_each(steps) == len(steps)


def _value(value: Any) -> str:
    return _safe(json.dumps(value, ensure_ascii=False))


def _safe(text: str) -> str:
    """The text with what a reader could miss, or take for a quote, spelled out."""
    return "".join(
        json.dumps(one)[1:-1] if is_invisible(one) or _is_quote(one) else one for one in text
    )


def _is_quote(letter: str) -> bool:
    return letter in _QUOTES or unicodedata.category(letter) in ("Pi", "Pf")
