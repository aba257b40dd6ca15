"""What a server does beside answering: deliver, sign, follow, tidy.

A chore is a coroutine function that runs until it is cancelled. One that fails is told of in
the log and begun again after a while: no failure of one may stop the others or the server. It
ends by itself with the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from nomos.server.storage.database import StorageClosed, StorageUnavailable

PAUSE_SECONDS: Final = 1.0
"""Before a chore that failed is begun again."""

log = logging.getLogger("nomos.server")

Chore = Callable[[], Awaitable[None]]


class BackgroundTasks:
    """Chores under way, from `start` until `close`."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, chore: Chore) -> None:
        """Begin a chore."""
        self._tasks.append(asyncio.create_task(_kept_up(name, chore), name=f"nomos {name}"))

    async def close(self) -> None:
        """End all of them. Doing it twice is harmless."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _kept_up(name: str, chore: Chore) -> None:
    while True:
        try:
            await chore()
        except StorageClosed:
            return
        except StorageUnavailable as failure:
            log.error("%s failed; it is begun again: %s", name, failure)  # noqa: TRY400 (known)
        except Exception:
            log.exception("%s failed; it is begun again", name)
        await asyncio.sleep(PAUSE_SECONDS)
