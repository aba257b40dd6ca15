"""Limits of concurrent calls to upstreams, per provider, app and agent.

A slow upstream holds every call to it. Without limits, the most frequent callers would take all
connections, and all others would wait for theirs to end. A call without a place waits for a limited
time, in order of arrival, and is then rejected: nothing was sent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nomos.server.pdp.statuses import PdpError

OF_PROVIDER: Final = 64
OF_APP: Final = 32
OF_AGENT: Final = 16
WAIT_SECONDS: Final = 3.0
MOST_WAITING: Final = 512
"""The maximum number of calls that wait for a place, over all providers."""

Place = tuple[tuple[str, ...], int]


class UpstreamLimiter:
    """Places at upstreams. It belongs to one event loop."""

    def __init__(self, wait: float = WAIT_SECONDS) -> None:
        self._wait = wait
        self._taken: Counter[tuple[str, ...]] = Counter()
        self._waiting: dict[asyncio.Future[None], tuple[Place, ...]] = {}

    @asynccontextmanager
    async def admit(self, provider: str, app: str, agent: str) -> AsyncIterator[None]:
        """Hold a place. Raises PdpError if none becomes free in time."""
        wanted: tuple[Place, ...] = (
            ((provider,), OF_PROVIDER),
            ((provider, "app", app), OF_APP),
            ((provider, "agent", agent), OF_AGENT),
        )
        await self._take(wanted)
        try:
            yield
        finally:
            self._count(wanted, -1)
            self._admit_waiting()

    async def _take(self, wanted: tuple[Place, ...]) -> None:
        if self._full(wanted) is None:
            self._count(wanted, 1)
            return
        if len(self._waiting) >= MOST_WAITING:
            raise self._refusal(wanted)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = wanted
        try:
            async with asyncio.timeout(self._wait):
                await turn
        except TimeoutError:
            if not _has_turn(turn):
                raise self._refusal(wanted) from None
        except BaseException:
            if _has_turn(turn):
                self._count(wanted, -1)
                self._admit_waiting()
            raise
        finally:
            self._waiting.pop(turn, None)

    def _admit_waiting(self) -> None:
        """Give free places to waiting calls, in order; one without a place blocks no other."""
        for turn, wanted in list(self._waiting.items()):
            if not turn.done() and self._full(wanted) is None:
                self._count(wanted, 1)
                del self._waiting[turn]
                turn.set_result(None)

    def _full(self, wanted: tuple[Place, ...]) -> Place | None:
        return next((each for each in wanted if self._taken[each[0]] >= each[1]), None)

    def _count(self, wanted: tuple[Place, ...], number: int) -> None:
        for key, _ in wanted:
            self._taken[key] += number
            if not self._taken[key]:
                del self._taken[key]

    def _refusal(self, wanted: tuple[Place, ...]) -> PdpError:
        key, most = self._full(wanted) or wanted[0]
        waiting_calls = "calls" if len(key) == 1 else f"calls of this {key[1]}"
        return PdpError(
            "unavailable",
            f"{most} {waiting_calls} are already waiting for {key[0]}, and none ended within "
            f"{self._wait:g} seconds. Nothing was sent; retry later",
            headers={"retry-after": "2"},
        )


def _has_turn(turn: asyncio.Future[None]) -> bool:
    return turn.done() and not turn.cancelled()
