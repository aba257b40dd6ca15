"""Bounding the log when one failure repeats: a few tracebacks a minute, and then how many came.

A disk that is full fails every request in the same way, and a traceback for each would fill what
is left of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST: Final = 3
"""Tracebacks of one kind in `SECONDS`."""

SECONDS: Final = 60.0
MAX_KINDS: Final = 256
"""Kinds that are counted; beyond this the counting begins again."""


@dataclass
class _Kind:
    since: float
    logged: int = 0
    left_out: int = 0


class Seldom(logging.Filter):
    """A filter of a logger: lets through what has no traceback, and the first few that have one.

    Records are of one kind when they have the same message, before its arguments are put in, and
    the same type of exception.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._kinds: dict[str, _Kind] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log this. The first of a new minute says how many were left out."""
        if record.exc_info is None:
            return True
        with self._lock:
            return self._admits(record)

    def _admits(self, record: logging.LogRecord) -> bool:
        now, failure = self._monotonic(), record.exc_info and record.exc_info[0]
        name = f"{record.msg} {failure}"
        if name not in self._kinds and len(self._kinds) >= MAX_KINDS:
            self._kinds.clear()
        kind = self._kinds.setdefault(name, _Kind(now))
        if now - kind.since >= SECONDS:
            if kind.left_out:
                record.msg = f"{record.msg} (and {kind.left_out} more since the last shown)"
            self._kinds[name] = kind = _Kind(now)
        if kind.logged >= MOST:
            kind.left_out += 1
            return False
        kind.logged += 1
        return True
