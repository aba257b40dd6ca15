"""How often somebody may try to sign in with what is wrong.

The secrets cannot be guessed; this keeps guessing from costing the database. Only failures
count, so whoever has a right key is not locked out by trying it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MOST: Final = 20
SECONDS: Final = 60.0
MOST_CALLERS: Final = 1024
"""Addresses remembered; beyond this the one that failed longest ago is forgotten."""


class LoginThrottle:
    """Failures by address in the last minute, in this process."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, caller: str, now: float) -> int:
        """Whole seconds until `caller` may try again; 0 for now."""
        recent = self._recent(caller, now)
        return 0 if len(recent) < MOST else max(1, int(recent[0] + SECONDS - now) + 1)

    def failed(self, caller: str, now: float) -> None:
        """Remember a failure."""
        self._failed[caller] = [*self._recent(caller, now), now][-MOST:]
        self._failed.move_to_end(caller)
        while len(self._failed) > MOST_CALLERS:
            self._failed.popitem(last=False)

    def _recent(self, caller: str, now: float) -> list[float]:
        return [at for at in self._failed.get(caller, ()) if 0 <= now - at < SECONDS]
