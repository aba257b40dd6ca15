"""The deadline of one call, shared by all of its steps."""

from __future__ import annotations

import math
import time
from typing import Final

from nomos._core.effects import OutOfTime

NEVER: Final = math.inf


class Deadline:
    """The time by which a call must end, and the number of attempts that it has made."""

    def __init__(self, seconds: float) -> None:
        self.began = time.monotonic()
        self.end = self.began + seconds
        self.tries = 0

    def left(self) -> float:
        """Return the seconds left, 0 after the deadline."""
        return max(0.0, self.end - time.monotonic())

    def spent(self) -> float:
        """Return the seconds since the call began."""
        return time.monotonic() - self.began

    def pause(self, seconds: float) -> float:
        """Return how long to pause; raise `OutOfTime` if no time would be left afterwards."""
        if seconds > 0 and seconds >= self.left():
            raise OutOfTime
        return seconds
