"""Which characters a reader could miss in text that somebody else chose.

What an approver cannot see must not be there to be approved: control characters, characters
without width, those that turn the direction of writing, spaces that are no spaces. Pages and
the terminal mark them in their own way; which they are is said here.
"""

from __future__ import annotations

import unicodedata
from typing import Final

BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc") | frozenset(
    map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
"""Characters that show nothing although their category says they are letters or marks."""

UNSEEN: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
PLAIN: Final = frozenset(" \n\t")


def is_invisible(letter: str) -> bool:
    """Whether a reader could miss this character, or what it does to the others."""
    if letter in PLAIN:
        return False
    return letter in BLANK or unicodedata.category(letter) in UNSEEN
