"""A limit on requests that wait: each holds a connection and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nomos.server.control.errors import ControlError
from nomos.server.http.limits import ConcurrencyGate

MAX_LONG_POLLS: Final = 500
MOST_OF_ONE_APP: Final = 20
RESERVED: Final = 50
"""Places reserved for operators, so that agents cannot block them."""


class LongPollLimiter:
    """Places for waiting requests; each app has a share."""

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
