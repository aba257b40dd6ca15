"""Rate limits on log records: repeated records are counted instead of logged.

Each place in the code may log `BURST` records at once, and one every `SECONDS` after that. A
traceback is long, and a full disk fails every request in the same way, so for records with a
traceback the limits are `TRACEBACKS` at once and one every `TRACEBACK_SECONDS`. The next record
that is logged says how many were left out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

BURST: Final = 20
SECONDS: Final = 10.0

TRACEBACKS: Final = 3
TRACEBACK_SECONDS: Final = 20.0

MOST_PLACES: Final = 1024
"""Places that are counted; beyond this number, counting starts again."""

Place = tuple[str, int, str | None]
"""A file, a line of it, and the type of the exception whose traceback is logged."""


@dataclass
class _Seen:
    left: float
    at: float
    dropped: int = 0


class LogLimit(logging.Filter):
    """A filter for one logger; `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[Place, _Seen] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True to log the record; otherwise count it."""
        with self._lock:
            return self._admits(record)

    def forget(self) -> None:
        """Start counting again."""
        with self._lock:
            self._seen.clear()

    def _admits(self, record: logging.LogRecord) -> bool:
        failure = record.exc_info[0] if record.exc_info else None
        burst, seconds = (TRACEBACKS, TRACEBACK_SECONDS) if failure else (BURST, SECONDS)
        place = (record.pathname, record.lineno, failure.__name__ if failure else None)
        now = self._clock()
        if len(self._seen) >= MOST_PLACES and place not in self._seen:
            self._seen.clear()
        seen = self._seen.setdefault(place, _Seen(burst, now))
        seen.left = min(burst, seen.left + (now - seen.at) / seconds)
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


def limit_logs(prefixes: Sequence[str] = ("nomos.server", "nomos._io")) -> None:
    """Limit the server's loggers, once each, and `nomos._io`, where a PDP reports outages."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if not isinstance(logger, logging.Logger):
            continue
        if not any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes):
            continue
        if not any(isinstance(each, LogLimit) for each in logger.filters):
            logger.addFilter(LogLimit())
