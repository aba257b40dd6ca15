"""How many may wait at the same time: a request that waits holds a connection and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nomos.server.control.errors import Refusal

MOST: Final = 500
MOST_OF_ONE_APP: Final = 100


class Seats:
    """Room for waiting requests, of which no app takes all. It belongs to one event loop."""

    def __init__(self, most: int = MOST, most_of_one_app: int = MOST_OF_ONE_APP) -> None:
        self._most = most
        self._most_of_one_app = most_of_one_app
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, app: str) -> Iterator[None]:
        """Hold a seat. Raises Refusal when there is none."""
        if self._taken[app] >= self._most_of_one_app or self._taken.total() >= self._most:
            message = "too many requests are waiting on this server; ask again without `wait`"
            raise Refusal("rate_limited", message, headers={"retry-after": "5"})
        self._taken[app] += 1
        try:
            yield
        finally:
            self._taken[app] -= 1
            if not self._taken[app]:
                del self._taken[app]
