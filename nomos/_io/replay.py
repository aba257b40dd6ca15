"""`MemoryReplayStore`: a replay store in memory, for services that run as one process."""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import ClassVar

from nomos._core.shares import LEEWAY_SECONDS, MAX_USED, Holder, holders
from nomos.errors import ConfigurationError

Key = tuple[str, str, str]


class MemoryReplayStore:
    """Stores used nonces until their tokens have expired, in this process only.

    A token that was used just before a restart works once more after it, and each of several
    processes would accept it once: use `nomos.server.storage.replay.SqlReplayStore` for those. A
    store that was made before a `fork()` raises after it. Threads may share a store.

    At most `limit` claims (default: 100,000) are stored at a time. Further claims are rejected, and
    none is deleted early. One agent may have a fifth of them, and one app with all its agents two
    fifths: an app that uses up tokens faster than they expire is rejected, and others are not.
    `clock` returns Unix time in seconds. Raises `ConfigurationError` for a `limit` below 1.
    """

    instant: ClassVar = True
    """It never waits, so an `AsyncVerifier` calls it directly."""

    shares: ClassVar = True
    """Its `claim` takes `family`."""

    def __init__(self, *, limit: int = MAX_USED, clock: Callable[[], float] = time.time) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigurationError(f"limit must be at least 1, not {limit!r}", setting="limit")
        self._limit = limit
        self._clock = clock
        self._used: dict[Key, tuple[Holder, ...]] = {}
        self._held: Counter[Holder] = Counter()
        self._ends: list[tuple[int, Key]] = []
        self._forgotten = 0
        self._lock = threading.Lock()
        self._process = os.getpid()

    def claim(
        self, issuer: str, audience: str, nonce: str, expires_at: int, *, family: str | None = None
    ) -> bool:
        """Return True for exactly one caller, and False for every other.

        A claim is named by `issuer`, `audience` and `nonce`; `expires_at` is the expiry of its
        token in Unix seconds. `family` is the issuer together with the app, or the first agent,
        that it granted the authority to. Raises `ConfigurationError` in another process, and
        `OverflowError` if the store is full, if the agent or the family has reached its share, or
        if claims with this `expires_at` are already deleted.
        """
        if os.getpid() != self._process:
            raise ConfigurationError(
                "MemoryReplayStore is for one process, and this one was forked from it: each of "
                "the two would accept a token once. Share a SqlReplayStore, or make one in each "
                "process if every token is for one of them only",
                setting="replay",
            )
        key = (issuer, audience, nonce)
        with self._lock:
            self._forget(int(self._clock()) - LEEWAY_SECONDS)
            if key in self._used:
                return False
            if expires_at < self._forgotten:
                raise OverflowError("claims of that time are forgotten; check the clocks")
            if len(self._used) >= self._limit:
                raise OverflowError(f"the replay store is full: {self._limit} uses are remembered")
            counted = self._counted(issuer, family)
            self._used[key] = counted
            self._held.update(counted)
            heapq.heappush(self._ends, (expires_at, key))
            return True

    def __len__(self) -> int:
        return len(self._used)

    def __repr__(self) -> str:
        return f"MemoryReplayStore({len(self)} of {self._limit})"

    def _forget(self, before: int) -> None:
        """Drop claims that expired before that time, and remember the latest dropped expiry.

        A clock that was far ahead for a while thus blocks no more than what it made the store drop.
        """
        while self._ends and self._ends[0][0] < before:
            ended, key = heapq.heappop(self._ends)
            self._forgotten = max(self._forgotten, ended + 1)
            for holder in self._used.pop(key):
                self._held[holder] -= 1
                if not self._held[holder]:
                    del self._held[holder]

    def _counted(self, issuer: str, family: str | None) -> tuple[Holder, ...]:
        """Return what a claim counts for; raise `OverflowError` if one of them has its share."""
        found = holders(self._limit, issuer, family)
        for holder in found:
            if self._held[holder] >= holder.most:
                raise OverflowError(
                    f"{holder.most} uses of one {holder.what} are remembered, its share of "
                    f"{self._limit}; others are not affected"
                )
        return found
