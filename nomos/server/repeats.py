"""Logs that a caller cannot fill: what is logged again and again is counted instead.

Each place in the code may log `BURST` records at once and one every `SECONDS` after that. The next
that is let through says how many were not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

BURST: Final = 20
SECONDS: Final = 10.0
MOST_PLACES: Final = 1024

Place = tuple[str, int, str | None]


@dataclass
class _Seen:
    left: float
    at: float
    dropped: int = 0


class Repeats(logging.Filter):
    """A filter for one logger; `clock` can only go forward."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[Place, _Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record through, or count it."""
        failure = record.exc_info[0] if record.exc_info else None
        place = (record.pathname, record.lineno, failure.__name__ if failure else None)
        now = self._clock()
        if len(self._seen) >= MOST_PLACES and place not in self._seen:
            self._seen.clear()
        seen = self._seen.setdefault(place, _Seen(BURST, now))
        seen.left = min(BURST, seen.left + (now - seen.at) / SECONDS)
        seen.at = now
        if seen.left < 1:
            seen.dropped += 1
            return False
        seen.left -= 1
        if seen.dropped:
            record.msg = f"{record.getMessage()} (and {seen.dropped} times since)"
            record.args = None
            seen.dropped = 0
        return True


def limit_repeats(prefix: str = "nomos") -> None:
    """Filter the loggers below `prefix` that exist, once each."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if not isinstance(logger, logging.Logger) or not f"{name}.".startswith(f"{prefix}."):
            continue
        if not any(isinstance(each, Repeats) for each in logger.filters):
            logger.addFilter(Repeats())
