"""How often each app asked in the last minute, for policy (`context.rate`)."""

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
        counts = self._counts[app]
        for second in [s for s in counts if s <= now - WINDOW]:
            del counts[second]
        before = sum(counts.values())
        counts[now] = counts.get(now, 0) + 1
        return before
