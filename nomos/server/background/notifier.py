"""Notifications within this process: waiting for a topic to change.

A notification carries no data: the waiter reads the database, which other processes change too.
Their changes are not notified here, so no wait is longer than `MAX_WAIT_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import Final

MAX_WAIT_SECONDS: Final = 1.0
"""The longest wait, in seconds, before a waiter reads the database again."""


class Notifier:
    """Topics that can be waited for and notified. It belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self.stopped = False

    def notify(self, topic: str) -> None:
        """Wake all waiters of `topic` now."""
        for waiter in self._waiting.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    def stop(self) -> None:
        """Mark the server as stopping, and wake all waiters: waiting calls are answered now."""
        self.stopped = True
        for topic in list(self._waiting):
            self.notify(topic)

    async def wait(self, topic: str, seconds: float = MAX_WAIT_SECONDS) -> None:
        """Return when `topic` is notified, or after `seconds` (at most `MAX_WAIT_SECONDS`)."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[topic].add(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, MAX_WAIT_SECONDS)):
                    await waiter
        finally:
            waiting = self._waiting.get(topic)
            if waiting is not None:
                waiting.discard(waiter)
                if not waiting:
                    del self._waiting[topic]
