"""Statements as text for people: `state is "open"`, `each of to is like "*@example.com"`.

Values are quoted and their invisible characters are escaped, so that no value can be read as part
of the sentence.
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
"""Characters that look like quotes, in addition to Unicode's quotation marks."""


def worded(pol: Sequence[Statement]) -> str:
    """Return all of the statements in words."""
    return _joined("and", pol, inside=False) or "anything"


def phrase(statement: Statement, *, inside: bool = False) -> str:
    """Return one statement in words; `inside` means that it is about an element of a list."""
    return _pattern(statement, inside=inside) or _plain(statement, inside=inside)


def about(statement: Statement) -> str | None:
    """Return the only path that a whole statement is about; None if there are several."""
    match statement:
        case ["and" | "or", several]:
            paths = {_strictly(each) for each in several}
            return paths.pop() if len(paths) == 1 else None
        case ["not", inner]:
            return _strictly(inner)
    path: str = statement[1]
    return path


def there(path: str, found: str) -> str:
    """Return the value at a path in words: `n is 11`. `found` is its JSON text."""
    return f"{_name(path, inside=False)} is {_safe(found)}"


def _pattern(statement: Statement, *, inside: bool) -> str | None:
    """Return the words for a group of statements with one meaning."""
    match statement:
        case ["and", [[">=", path, low], ["<=", other, high]]] if path == other:
            said = f"is between {_value(low)} and {_value(high)}"
        case ["and", [["!=", here, None], ["!=", path, value]]] if here == optional(
            path
        ) and _is_one(path):
            said = f"is not {_value(value)}"
        case ["and", [["like", path, "*"], ["not", ["like", other, glob]]]] if path == other:
            said = f"is not like {_value(glob)}"
        case ["or", [["==", path, _], _, *_] as either] if all(
            each[:2] == ["==", path] for each in either
        ):
            said = f"is one of {', '.join(_value(each[2]) for each in either)}"
        case ["and", [["!=", one, []], ["!=", two, {}], ["any", path, each]]] if (
            one == two == path and statement[1][1][2] == {}
        ):
            return _quantified("some of", path, each, inside=inside)
        case _:
            return _beginning(statement, inside=inside)
    return f"{_name(path, inside=inside)} {said}"


def _beginning(statement: Statement, *, inside: bool) -> str | None:
    """Return the words for a path or URL constraint."""
    folder, at = read_under(statement), read_url(statement)
    if folder is not None:
        return f"{_name(folder[0], inside=inside)} is under {_value(folder[1])}"
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
    """Return the statements joined by `and` or `or`, with parentheses where they are needed."""
    phrases = [phrase(each, inside=inside) for each in several]
    if len(phrases) > 1:
        phrases = [f"({one})" if one.startswith(_QUANTIFIED) else one for one in phrases]
    return f" {word} ".join(phrases)


def _quantified(word: str, path: str, inner: Statement, *, inside: bool) -> str:
    rule = phrase(inner, inside=True)
    about = f" {rule[3:]}" if rule.startswith("it is ") else f": {rule}"
    return f"{word} {_name(path, inside=inside)}{about}"


def _strictly(statement: Statement) -> str | None:
    path = about(statement)
    return None if path is None else strict(path)


def _name(path: str, *, inside: bool) -> str:
    """Return an argument by its name; any other path as its selector."""
    steps = known(path)
    if inside and not steps:
        return "it"
    named = steps if inside else steps[1:]
    if inside and named[:1] == (Step("member", "it"),):
        return _safe(path)  # a member named `it`, not the element
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
    """Return the text with invisible characters and quotes escaped."""
    return "".join(
        json.dumps(one)[1:-1] if is_invisible(one) or _is_quote(one) else one for one in text
    )


def _is_quote(letter: str) -> bool:
    return letter in _QUOTES or unicodedata.category(letter) in ("Pi", "Pf")
