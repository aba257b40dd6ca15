"""File names reserved for the PDP in a workspace; paths of calls may not contain them.

The PDP writes a new file under a reserved name and then moves it to its place. A file system may
treat several spellings as one name (another case, composed or decomposed characters, ignored
characters), so a name is compared by its ASCII letters after Unicode folding.
"""

from __future__ import annotations

import unicodedata
from typing import Final

PREFIX: Final = ".nomos-"
"""The prefix of every reserved name, in lower case."""

SCRATCH: Final = f"{PREFIX}scratch"
"""The folder that holds files until they are complete."""


def is_reserved(name: str) -> bool:
    """Return whether a file system could read one segment of a path as a reserved name."""
    folded = unicodedata.normalize("NFKD", name).casefold()
    return folded.encode("ascii", "ignore").startswith(PREFIX.encode())
