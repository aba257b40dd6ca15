"""Messages about the policy statement that a call does not satisfy, or that a request exceeds.

The signing binary names the statement by its place (`pol[1]`). The message words it: `this link
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
"""Characters of a statement in words; the signer of the token chose its texts."""

_PLACE: Final = re.compile(r"pol(?:\[\d{1,4}\])+")
_CODES: Final = ("resource_out_of_scope", "resource_mismatch")


def message(refused: Refused) -> str:
    """Return the refusal's message; for a policy statement, in words with the actual value."""
    return failed_statement(refused) or refused.message


def expected_value(refused: Refused) -> str | None:
    """Return the required value; for a policy statement, the statement in words."""
    statement = _statement(refused)
    return refused.wanted if statement is None else _cut(wording.phrase(statement))


def failed_statement(refused: Refused, *, tell_found: bool = True) -> str | None:
    """Return the failed statement in words, or None; `tell_found=False` omits the call's values."""
    statement = _statement(refused)
    if statement is None:
        return None
    rule = f"this link holds only where {_cut(wording.phrase(statement))} ({refused.field})"
    path = wording.about(statement)
    if path is None:
        return rule
    if refused.found is None:
        return f"{rule}, and {'the token signs' if _of_signed(refused) else 'there is'} none"
    return f"{rule}, and {_cut(wording.there(path, refused.found))}" if tell_found else rule


def exceeding(refused: Refused) -> str | None:
    """Return what was requested and what is held, if a request exceeds a statement of its chain."""
    if refused.requested is None or refused.statement is None:
        return None
    try:
        requested, held = policy(refused.requested), policy([refused.statement])
    except (ConfigurationError, ValueError, RecursionError):
        return None
    more, less = (_cut(wording.worded(each)) for each in (requested, held))
    return (
        f"requested is `{more}`, held is `{less}`. "
        "A child's constraints must be within its parent's, or left out"
    )


def needs_signed_args(refused: Refused) -> bool:
    """Whether the statement is about an argument that the token does not sign."""
    statement = _statement(refused)
    path = None if statement is None or not _of_signed(refused) else wording.about(statement)
    return path is not None and path.startswith(".args") and refused.found is None


def _of_signed(refused: Refused) -> bool:
    """Whether the statement was evaluated on the token's own call, not on the actual one."""
    return refused.code == "resource_out_of_scope"


def _statement(refused: Refused) -> Statement | None:
    """Return the statement that does not hold; None for any other refusal, or if it is invalid."""
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
