"""Characters that a reader could miss in text from another party.

An approver must see everything that is approved. Control characters, characters without width,
characters that change the writing direction and unusual spaces can hide text. Pages and the
terminal mark them, each in its own way; this module says which characters they are.
"""

from __future__ import annotations

import unicodedata
from typing import Final

BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc") | frozenset(
    map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
"""Characters that display nothing although their Unicode category is letter or mark."""

UNSEEN: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
"""Unicode categories whose characters display nothing, or move the others."""
PLAIN: Final = frozenset(" \n\t")
"""Characters of those categories that are displayed as expected."""


def is_invisible(letter: str) -> bool:
    """Whether a reader could miss this character, or its effect on others."""
    if letter in PLAIN:
        return False
    return letter in BLANK or unicodedata.category(letter) in UNSEEN
