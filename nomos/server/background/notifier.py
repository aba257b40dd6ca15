"""Waking whoever waits for something to change, within this process.

A bell carries no news: who wakes reads the database, which other processes change too. So
nobody waits for a bell longer than it may take to notice those.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import Final

LOOK_SECONDS: Final = 1.0
"""The longest that anyone waits before looking again."""


class Notifier:
    """Topics that can be waited for and rung. It belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self.stopped = False

    def notify(self, topic: str) -> None:
        """Wake everybody who waits for `topic` now."""
        for waiter in self._waiting.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    def stop(self) -> None:
        """Say that the server is stopping, and wake everybody: held answers are given now."""
        self.stopped = True
        for topic in list(self._waiting):
            self.notify(topic)

    async def wait(self, topic: str, seconds: float = LOOK_SECONDS) -> None:
        """Return when `topic` is rung, or after `seconds` (at most `LOOK_SECONDS`)."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[topic].add(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, LOOK_SECONDS)):
                    await waiter
        finally:
            waiting = self._waiting.get(topic)
            if waiting is not None:
                waiting.discard(waiter)
                if not waiting:
                    del self._waiting[topic]
