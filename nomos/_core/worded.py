"""What a refusal by a statement of a token's policy says to people.

The binary names the statement by its place (`pol[1]`) and gives its JSON text, cut if it is long.
Here it becomes a sentence: `this link holds only where n is at most 10 (pol[1]), and n is 11`.
"""

from __future__ import annotations

import json
import re
from typing import Final

from nomos._pol import wording
from nomos._pol.checks import Statement, policy
from nomos._wire import Refused
from nomos.errors import ConfigurationError

MAX_WORDS: Final = 512
"""Characters of a statement in words; whoever signed the token chose its texts."""

_PLACE: Final = re.compile(r"pol(?:\[\d{1,4}\])+")
_CODES: Final = ("resource_out_of_scope", "resource_mismatch")


def sentence(refused: Refused) -> str:
    """The refusal's message; of a statement that does not hold, what it wants and what there is."""
    return unmet(refused) or refused.message


def unmet(refused: Refused, *, tell_found: bool = True) -> str | None:
    """The statement that refuses, in words; None if it is none, or cannot be read.

    Without `tell_found` nothing is told of the call, only of the statement and where it stands.
    """
    field = refused.field
    if refused.code not in _CODES or field is None or not _PLACE.fullmatch(field):
        return None
    statement = _statement(refused.wanted)
    if statement is None:
        return None
    told = f"this link holds only where {_cut(wording.phrase(statement))} ({field})"
    there = wording.there(statement, refused.found) if tell_found else None
    return told if there is None else f"{told}, and {_cut(there)}"


def _statement(text: str | None) -> Statement | None:
    """The one statement that a text is; None for a text that was cut, and for any other."""
    if text is None:
        return None
    try:
        (statement,) = policy([json.loads(text)])
    except (ConfigurationError, ValueError, RecursionError):
        return None
    return statement


def _cut(words: str) -> str:
    return words if len(words) <= MAX_WORDS else f"{words[: MAX_WORDS - 1]}…"
