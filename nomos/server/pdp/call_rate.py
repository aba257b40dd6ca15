"""How often something happened within the last minute, in this process.

What was counted at times later than now is forgotten: a clock was ahead then.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

WINDOW_SECONDS: Final = 60.0
MAX_COUNTED: Final = 10_000
MAX_KEYS: Final = 10_000


class SlidingWindowCounter:
    """Counts per key over a sliding minute; more than `MAX_COUNTED` are counted as that many."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, key: str, now: float) -> int:
        """Return how often `key` was counted in the minute before, then count it once more."""
        seen = self._seen.setdefault(key, deque(maxlen=MAX_COUNTED))
        self._seen.move_to_end(key)
        if len(self._seen) > MAX_KEYS:
            self._seen.popitem(last=False)
        while seen and seen[-1] > now:
            seen.pop()
        while seen and seen[0] <= now - WINDOW_SECONDS:
            seen.popleft()
        before = len(seen)
        seen.append(now)
        return before
