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
    """The revoked ids among those that were looked up, as of `age` seconds ago.

    `trouble` says why the view is not newer, if that is known; it is for people.
    """

    revoked: frozenset[str]
    age_seconds: int = 0
    error: str | None = None
