"""How much time one call has, for everything that it does."""

from __future__ import annotations

import math
import time
from typing import Final

from nomos._core.effects import OutOfTime

NEVER: Final = math.inf


class Deadline:
    """The moment by which all of one call must be done, and how often it was tried."""

    def __init__(self, seconds: float) -> None:
        self.began = time.monotonic()
        self.end = self.began + seconds
        self.tries = 0

    def left(self) -> float:
        """Seconds left; 0 when time is up."""
        return max(0.0, self.end - time.monotonic())

    def spent(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self.began

    def pause(self, seconds: float) -> float:
        """Return how long to pause; raises `OutOfTime` if no time were left afterwards."""
        if seconds > 0 and seconds >= self.left():
            raise OutOfTime
        return seconds
