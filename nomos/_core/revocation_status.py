"""What is known of revocations, and how old that knowledge is.

Who asks decides how old is too old: not to know is never the same as not revoked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NEVER: Final = 2**31 - 1
"""The age of a view that has seen nothing yet: more than anybody allows."""


@dataclass(frozen=True)
class Seen:
    """Those that are revoked, as of `age` seconds ago.

    `trouble` says for people why the view is not younger, where that is known.
    """

    ids: frozenset[str]
    age: int = 0
    trouble: str | None = None
