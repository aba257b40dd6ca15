"""Whether the wall clock may be gone by when something is deleted for its age.

A clock that jumps ahead makes everything old. What is refused for that is good again once the
clock is put right; what is deleted is gone. So nothing is deleted before the clock has gone, for
an hour of this process, as fast as one that nobody sets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STEADY_SECONDS: Final = 3600.0

SLACK_SECONDS: Final = 10.0
"""What the two may differ by: a clock that is put right slowly differs by two in an hour."""


def _awake() -> float:
    """Seconds that go on while the machine sleeps, where it has such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Steady:
    """The wall clock, for who deletes by it. Threads may share it."""

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float] = _awake) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._began = (clock(), monotonic())

    def now(self) -> int | None:
        """Unix seconds; None while it is not known whether the clock is right.

        A jump begins the hour again.
        """
        wall, awake = self._clock(), self._monotonic()
        began_wall, began = self._began
        if abs((wall - began_wall) - (awake - began)) > SLACK_SECONDS:
            self._began = (wall, awake)
            return None
        return int(wall) if awake - began >= STEADY_SECONDS else None
