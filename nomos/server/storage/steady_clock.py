"""A check of the wall clock before rows are deleted for their age.

When a clock jumps ahead, all rows look old, and a deletion is final. So nothing is deleted until
the wall clock has advanced as fast as the monotonic clock for an hour of this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STEADY_SECONDS: Final = 3600.0

SLACK_SECONDS: Final = 10.0
"""The tolerated difference in seconds: slewing changes a clock by two in an hour."""


def _awake() -> float:
    """Return monotonic seconds, which include sleep of the machine if it has such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Steady:
    """The wall clock, for deletions by age. Threads may share it."""

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float] = _awake) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._began = (clock(), monotonic())

    def now(self) -> int | None:
        """Return Unix seconds; None while the clock may be wrong. A jump restarts the hour."""
        wall, awake = self._clock(), self._monotonic()
        began_wall, began = self._began
        if abs((wall - began_wall) - (awake - began)) > SLACK_SECONDS:
            self._began = (wall, awake)
            return None
        return int(wall) if awake - began >= STEADY_SECONDS else None
