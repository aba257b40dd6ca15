"""Text that somebody else chose, shown so that it cannot pretend to be other text.

What an approver cannot see must not be there to be approved. Control characters, characters
without width, those that turn the direction of writing, and spaces that are no spaces each
become a mark with their number; spaces at the end of a line are marked too. Nothing is left
out and nothing is shortened: a run of one invisible character is one mark with its count.
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
    """How many characters of a text are shown as marks."""
    return sum(map(is_invisible, text))


def has_rtl(text: str) -> bool:
    """Whether letters are written right to left, so that their order may look different."""
    return any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text)


def visible(text: str) -> Markup:
    """The whole text as HTML, with marks for what cannot be seen."""
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
    """What to do with a character; those that are alike are done together."""
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
