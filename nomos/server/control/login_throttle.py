"""How often an address may try to sign in with what is wrong.

The secrets cannot be guessed; this keeps guessing from costing the database. Only failures
count, so a person with a right key is not locked out by trying it.
"""

from __future__ import annotations

from typing import Final

from nomos.server.http.limits import SlidingWindowCounter

MOST: Final = 20
MOST_CALLERS: Final = 1024
"""Addresses remembered; beyond this the one that failed longest ago is forgotten."""


class LoginThrottle:
    """Failures by address in the last minute, in this process."""

    def __init__(self) -> None:
        self._failed = SlidingWindowCounter(most_keys=MOST_CALLERS, most_counted=MOST)

    def wait(self, caller: str, now: float) -> int:
        """Whole seconds until `caller` may try again; 0 for now."""
        seconds = self._failed.wait(caller, now, MOST)
        return int(seconds) + 1 if seconds > 0 else 0

    def failed(self, caller: str, now: float) -> None:
        """Remember a failure."""
        self._failed.count(caller, now)
