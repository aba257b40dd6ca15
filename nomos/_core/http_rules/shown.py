"""A caller's text in a form that is safe to repeat in a message."""

from __future__ import annotations

from typing import Final

SHOWN: Final = 80  # characters of a caller's own text that a message repeats


def shown(text: str, most: int = SHOWN) -> str:
    """Return a caller's text for use in a message: quoted, ASCII, and short."""
    return ascii(text if len(text) <= most else text[: most - 3] + "...")
