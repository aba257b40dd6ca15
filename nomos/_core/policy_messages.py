"""What a refusal by a statement of a token's policy says to people.

The binary names the statement by its place (`pol[1]`). Here it becomes a sentence: `this link
holds only where n is at most 10 (pol[1]), and n is 11`.
"""

from __future__ import annotations

import re
from typing import Final

from nomos._pol import wording
from nomos._pol.checks import Statement, policy
from nomos._protocol import Refused
from nomos.errors import ConfigurationError

MAX_WORDS: Final = 512
"""Characters of a statement in words; whoever signed the token chose its texts."""

_PLACE: Final = re.compile(r"pol(?:\[\d{1,4}\])+")
_CODES: Final = ("resource_out_of_scope", "resource_mismatch")


def message(refused: Refused) -> str:
    """The refusal's message; of a statement that does not hold, what it wants and what there is."""
    return failed_statement(refused) or refused.message


def expected_value(refused: Refused) -> str | None:
    """What had to be: of a statement in words, of all else as it was told."""
    statement = _statement(refused)
    return refused.wanted if statement is None else _cut(wording.phrase(statement))


def failed_statement(refused: Refused, *, tell_found: bool = True) -> str | None:
    """The statement that refuses, in words; None if it is none, or cannot be read.

    Without `tell_found` no value of the call is told, only the statement and where it stands.
    """
    statement = _statement(refused)
    if statement is None:
        return None
    told = f"this link holds only where {_cut(wording.phrase(statement))} ({refused.field})"
    path = wording.about(statement)
    if path is None:
        return told
    if refused.found is None:
        return f"{told}, and {'the token signs' if _of_signed(refused) else 'there is'} none"
    return f"{told}, and {_cut(wording.there(path, refused.found))}" if tell_found else told


def needs_signed_args(refused: Refused) -> bool:
    """Whether a statement is about an argument that the token does not sign."""
    statement = _statement(refused)
    path = None if statement is None or not _of_signed(refused) else wording.about(statement)
    return path is not None and path.startswith(".args") and refused.found is None


def _of_signed(refused: Refused) -> bool:
    """Whether the call was judged that the token signs, and not the one that is made with it."""
    return refused.code == "resource_out_of_scope"


def _statement(refused: Refused) -> Statement | None:
    """The one statement that refuses; None for any other refusal, and for what is no policy."""
    field = refused.field
    if refused.code not in _CODES or field is None or not _PLACE.fullmatch(field):
        return None
    try:
        (statement,) = policy([refused.statement])
    except (ConfigurationError, ValueError, RecursionError):
        return None
    return statement


def _cut(words: str) -> str:
    return words if len(words) <= MAX_WORDS else f"{words[: MAX_WORDS - 1]}…"
