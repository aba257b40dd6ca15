"""A caller's own text as it may stand in a sentence."""

from __future__ import annotations

from typing import Final

SHOWN: Final = 80
"""Characters of a caller's own text that a message repeats."""


def shown(text: str, most: int = SHOWN) -> str:
    """Return a caller's text as it may appear in a sentence: quoted, ASCII, and short."""
    return ascii(text if len(text) <= most else text[: most - 3] + "...")
