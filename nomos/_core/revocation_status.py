"""The result of a revocation lookup: the revoked ids, and the age of that knowledge.

The caller decides which age is too old. Unknown is never the same as not revoked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NEVER: Final = 2**31 - 1
"""The age of a view that has not been synchronized yet: more than any limit."""


@dataclass(frozen=True)
class RevocationStatus:
    """Those of the ids looked up that are `revoked`, as of `age_seconds` ago.

    `error` is the reason for which the view is not newer, if it is known; it is for people.
    """

    revoked: frozenset[str]
    age_seconds: int = 0
    error: str | None = None
