"""Names in a workspace that belong to the PDP: no path that a caller sends may hold one.

The PDP writes a new file's content under such a name before it moves it to its place. A file
system may take several spellings for one name (another case, composed or decomposed characters,
characters that it ignores), so a name counts as reserved by what is left of it in plain ASCII.
"""

from __future__ import annotations

import unicodedata
from typing import Final

PREFIX: Final = ".nomos-"
"""What every reserved name begins with, in lower case."""

SCRATCH: Final = f"{PREFIX}scratch"
"""The folder in which files wait until they are complete."""


def is_reserved(name: str) -> bool:
    """Return whether one segment of a path could be taken for a reserved name."""
    folded = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in folded if letter.isascii()).startswith(PREFIX)
