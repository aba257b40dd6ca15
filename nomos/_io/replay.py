"""What was used, in memory: for services of one process."""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable
from typing import ClassVar, Final

from nomos.errors import ConfigurationError

MAX_USED: Final = 100_000

LEEWAY_SECONDS: Final = 60 + 60
"""The most that a verifier forgives, and as much again for clocks that disagree."""

Key = tuple[str, str, str]


class MemoryReplay:
    """Remembers what was used until it has expired, in this process and until that ends.

    A token that was used just before a restart works once more after it, and each of several
    processes would take it once: `nomos.server.storage.replay.StoredReplay` is for those. One that
    was made before a `fork()` refuses to work after it. At most `limit` claims are remembered at a
    time; beyond that it refuses more, and forgets none. Threads may share it.
    """

    instant: ClassVar = True
    """It never waits, so an `AsyncVerifier` calls it as it is."""

    def __init__(self, *, limit: int = MAX_USED, clock: Callable[[], float] = time.time) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigurationError(f"limit must be at least 1, not {limit!r}", setting="limit")
        self._limit = limit
        self._clock = clock
        self._used: set[Key] = set()
        self._ends: list[tuple[int, Key]] = []
        self._forgotten = 0
        self._lock = threading.Lock()
        self._process = os.getpid()

    def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        """Return True to exactly one caller; `expires_at` is in Unix seconds.

        Raises `ConfigurationError` in another process, and `OverflowError` when it is full or was
        asked for a time of which it has forgotten what was used.
        """
        if os.getpid() != self._process:
            raise ConfigurationError(
                "MemoryReplay is for one process, and this one was forked from it: two would each "
                "take a token once. Share a StoredReplay, or make one in each process if every "
                "token is for one of them alone",
                setting="replay",
            )
        key = (issuer, audience, nonce)
        with self._lock:
            self._forget(int(self._clock()) - LEEWAY_SECONDS)
            if key in self._used:
                return False
            if expires_at < self._forgotten:
                raise OverflowError("what ended that long ago is forgotten; are the clocks right?")
            if len(self._used) >= self._limit:
                raise OverflowError(f"{self._limit} uses are remembered, and no more can be")
            self._used.add(key)
            heapq.heappush(self._ends, (expires_at, key))
            return True

    def __len__(self) -> int:
        return len(self._used)

    def __repr__(self) -> str:
        return f"MemoryReplay({len(self)} of {self._limit})"

    def _forget(self, before: int) -> None:
        """Drop what ended before that time; it never goes back."""
        self._forgotten = max(self._forgotten, before)
        while self._ends and self._ends[0][0] < self._forgotten:
            self._used.discard(heapq.heappop(self._ends)[1])
