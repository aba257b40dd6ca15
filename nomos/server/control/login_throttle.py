"""A limit on failed sign-in attempts per network address.

The secrets cannot be guessed; the limit protects the database from the load of guessing. Only
failures count, so a person with a valid key is not locked out.
"""

from __future__ import annotations

from typing import Final

from nomos.server.http.limits import SlidingWindowCounter

MOST: Final = 20
MOST_CALLERS: Final = 1024
"""The number of addresses remembered; then the one whose last failure is oldest is dropped."""


class LoginThrottle:
    """Failures per address in the last minute, in this process."""

    def __init__(self) -> None:
        self._failed = SlidingWindowCounter(most_keys=MOST_CALLERS, most_counted=MOST)

    def wait(self, caller: str, now: float) -> int:
        """Return whole seconds until `caller` may try again; 0 if now."""
        seconds = self._failed.wait(caller, now, MOST)
        return int(seconds) + 1 if seconds > 0 else 0

    def failed(self, caller: str, now: float) -> None:
        """Count a failure."""
        self._failed.count(caller, now)
