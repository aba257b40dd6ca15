"""Untrusted text as HTML that cannot be mistaken for other text.

An operator must see everything that they approve. Control characters, characters without width,
characters that change the text direction, and unusual spaces are each shown as a mark with their
code point; spaces at the ends of a line are marked too. Nothing is left out or shortened: a run of
one invisible character is one mark with its count.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator
from typing import Final

from markupsafe import Markup, escape

from nomos.invisible_text import is_invisible

_LINE: Final = Markup('<span class="line"></span>\n')
_RIGHT_TO_LEFT: Final = frozenset(("R", "AL", "AN"))


def count_unseen(text: str) -> int:
    """Return how many characters of a text are shown as marks."""
    return sum(map(is_invisible, text))


def has_rtl(text: str) -> bool:
    """Return whether a text has right-to-left letters, whose display order may differ."""
    return any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text)


def visible(text: str) -> Markup:
    """Return the whole text as HTML, with marks for invisible characters."""
    parts: list[Markup] = []
    for number, line in enumerate(text.split("\n")):
        if number:
            parts.append(_LINE)
        body = line.rstrip(" ")
        start = len(body) - len(body.lstrip(" ")) if number == 0 else 0
        parts += (_edge(start), *_inside(body[start:]), _edge(len(line) - len(body)))
    return Markup("").join(parts)


def _inside(text: str) -> Iterator[Markup]:
    for (kind, letter), group in itertools.groupby(text, key=_kind):
        yield _part(kind, letter, "".join(group))


def _kind(letter: str) -> tuple[str, str]:
    """Return the group key of a character: tab, mark or text."""
    if letter == "\t":
        return "tab", letter
    return ("mark", letter) if is_invisible(letter) else ("text", "")


def _edge(spaces: int) -> Markup:
    return Markup('<span class="edge">{}</span>').format(" " * spaces) if spaces else Markup("")


def _part(kind: str, letter: str, letters: str) -> Markup:
    match kind:
        case "tab":
            return Markup('<span class="tab"></span>\t') * len(letters)
        case "mark":
            return _mark(letter, len(letters))
    return escape(letters)


def _mark(letter: str, count: int) -> Markup:
    number = f"U+{ord(letter):04X}" + (f" \N{MULTIPLICATION SIGN}{count:,}" if count > 1 else "")
    name = unicodedata.name(letter, "control character").lower()
    return Markup('<span class="mark" title="{}">{}</span>').format(name, number)
