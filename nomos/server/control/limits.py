"""Limits of the control plane, in this process: app quotas, failed sign-ins, waiting requests."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from nomos.server.control.errors import ControlError
from nomos.server.http.limits import ConcurrencyGate, SlidingWindowCounter

QUESTIONS: Final = 10_000
QUESTIONS_A_SECOND: Final = 100
BYTES: Final = 64 * 1024 * 1024
BYTES_A_SECOND: Final = 256 * 1024
OF_EACH: Final = 4096
"""Bytes that a question takes besides its own size: records, the answer, indexes."""

MOST_APPS: Final = 10_000
"""The number of apps remembered; then the one that asked longest ago is dropped and begins full."""

MOST_FAILURES: Final = 20
MOST_CALLERS: Final = 1024
"""The number of addresses remembered; then the one whose last failure is oldest is dropped."""

MAX_LONG_POLLS: Final = 500
MOST_OF_ONE_APP: Final = 20
RESERVED: Final = 50
"""Places reserved for operators, so that agents cannot block them."""


@dataclass
class _Left:
    questions: float
    size: float
    at: float


class Quotas:
    """How many questions each app may still ask, and how many bytes of them are stored.

    Both are token buckets that begin full: a burst passes, a continuous load is slowed down to
    what the disk can take, and other apps are not affected.
    """

    def __init__(
        self, questions: int = QUESTIONS, size: int = BYTES, *, kept: int = OF_EACH
    ) -> None:
        self._questions = questions
        self._size = size
        self._kept = kept
        self._left: OrderedDict[str, _Left] = OrderedDict()

    def take(self, app: str, size: int, now: float) -> None:
        """Count a question of `size` bytes. Raises ControlError (429) if too little is left.

        `now` is a monotonic time in seconds.
        """
        left = self._left.pop(app, None) or _Left(self._questions, self._size, now)
        passed = max(0.0, now - left.at)
        left.questions = min(self._questions, left.questions + passed * QUESTIONS_A_SECOND)
        left.size = min(self._size, left.size + passed * BYTES_A_SECOND)
        left.at = now
        self._left[app] = left
        if len(self._left) > MOST_APPS:
            self._left.popitem(last=False)
        wanted = min(size + self._kept, self._size)
        wait = max((1 - left.questions) / QUESTIONS_A_SECOND, (wanted - left.size) / BYTES_A_SECOND)
        if wait > 0:
            what = "questions" if left.questions < 1 else "bytes"
            raise ControlError(
                "rate_limited",
                f"this app has exceeded its quota ({what}): {QUESTIONS_A_SECOND} questions and "
                f"{BYTES_A_SECOND // 1024} KiB a second are sustainable. Nothing was decided",
                headers={"retry-after": str(max(1, math.ceil(wait)))},
            )
        left.questions -= 1
        left.size -= wanted


class LoginThrottle:
    """Failed sign-in attempts per network address in the last minute.

    The secrets cannot be guessed; the limit protects the database from the load of guessing. Only
    failures count, so a person with a valid key is not locked out.
    """

    def __init__(self) -> None:
        self._failed = SlidingWindowCounter(most_keys=MOST_CALLERS, most_counted=MOST_FAILURES)

    def wait(self, caller: str, now: float) -> int:
        """Return whole seconds until `caller` may try again; 0 if now."""
        seconds = self._failed.wait(caller, now, MOST_FAILURES)
        return int(seconds) + 1 if seconds > 0 else 0

    def failed(self, caller: str, now: float) -> None:
        """Count a failure."""
        self._failed.count(caller, now)


class LongPollLimiter:
    """Places for waiting requests, each of which holds a connection and memory.

    Each app has a share.
    """

    def __init__(self) -> None:
        self.gate = ConcurrencyGate(MOST_OF_ONE_APP)

    @contextmanager
    def one(self, app: str, *, reserved: bool = False) -> Iterator[None]:
        """Hold a place, `reserved` ones included if true. Raises ControlError if there is none."""
        most = MAX_LONG_POLLS if reserved else MAX_LONG_POLLS - RESERVED
        with self.gate.admit(app, most) as room:
            if not room:
                message = "too many requests are waiting on this server; ask again without `wait`"
                raise ControlError("rate_limited", message, headers={"retry-after": "5"})
            yield
