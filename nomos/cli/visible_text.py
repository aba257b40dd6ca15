"""Text that an agent, an app or a server chose, as a terminal may show it.

A character that cannot be seen, or that would steer the terminal, is replaced by a visible mark.
"""

from __future__ import annotations

import json
from typing import Any, Final

from rich.text import Text

from nomos.invisible_text import is_invisible

MARK: Final = "bold black on yellow"
MAX_SHOWN: Final = 120
MAX_LINE: Final = 4096  # columns of a line where the output is no terminal


def shown(text: str, *, quoted: bool = False) -> Text:
    """Return text on one line, with each invisible character replaced by its code point.

    With `quoted`, quotes are added to empty text, to text with spaces at an end, and to text that
    reads as JSON, such as `5` and `true`.
    """
    result = Text()
    for letter in text:
        if letter in "\n\t" or is_invisible(letter):
            result.append(f"U+{ord(letter):04X}", style=MARK)
        else:
            result.append(letter)
    if quoted and (not text or text.strip(" ") != text or _reads_as_json(text)):
        return Text.assemble(("“", "dim"), result, ("”", "dim"))
    return result


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def plain(text: str, limit: int = MAX_SHOWN) -> str:
    """Return text cut to `limit` characters, with each invisible character replaced by a mark."""
    short = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if letter in "\n\t" or is_invisible(letter) else letter
        for letter in short
    )


def value_text(value: Any) -> str:
    """Return a text unchanged, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
