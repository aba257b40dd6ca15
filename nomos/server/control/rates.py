"""How often each app asked in the last minute, for policy (`context.rate`).

What was counted at times later than now is forgotten: a clock was ahead then, and when that was
is not known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

WINDOW: Final = 60
"""Seconds looked back on."""


class Rates:
    """One counter an app and second. `earlier` is what was counted before a restart."""

    def __init__(self, earlier: Iterable[tuple[str, int, int]] = ()) -> None:
        self._counts: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for app, second, count in earlier:
            self._counts[app][second] = count

    def count(self, app: str, now: int) -> int:
        """Count this question, and return how many the app asked in the minute before it."""
        counts, before = self._recent(app, now)
        counts[now] = counts.get(now, 0) + 1
        return before

    def admits(self, app: str, now: int, most: int) -> bool:
        """Count this one if there were fewer than `most` in the minute before it.

        What is turned away does not count: who tries again is let in when the minute is over.
        """
        counts, before = self._recent(app, now)
        if before >= most:
            return False
        counts[now] = counts.get(now, 0) + 1
        return True

    def _recent(self, app: str, now: int) -> tuple[dict[int, int], int]:
        counts = self._counts[app]
        for second in [s for s in counts if not now - WINDOW < s <= now]:
            del counts[second]
        return counts, sum(counts.values())
