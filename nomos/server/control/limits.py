"""Limits of the control plane, in this process: failed sign-ins and waiting requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nomos.server.control.errors import ControlError
from nomos.server.http.limits import ConcurrencyGate, SlidingWindowCounter

MOST_FAILURES: Final = 20
MOST_CALLERS: Final = 1024
"""The number of addresses remembered; then the one whose last failure is oldest is dropped."""

MAX_LONG_POLLS: Final = 500
MOST_OF_ONE_APP: Final = 20
RESERVED: Final = 50  # places reserved for operators, so that agents cannot block them


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
    """Places for waiting requests, which hold a connection and memory each; apps have shares."""

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
