"""Background tasks of a server: starting, restarting after a failure, cancelling.

A task runs until it is cancelled, or the database is closed. A failure is logged, and the task is
started again after a pause: it must not stop the other tasks or the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from nomos.server.storage.database import StorageClosed, StorageUnavailable

PAUSE_SECONDS: Final = 1.0  # the pause before a failed task is started again
log = logging.getLogger("nomos.server")

TaskFunction = Callable[[], Awaitable[None]]


class BackgroundTasks:
    """Running tasks, from `start` until `close`."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, run: TaskFunction) -> None:
        """Start a task."""
        self._tasks.append(asyncio.create_task(_keep_running(name, run), name=f"nomos {name}"))

    async def close(self) -> None:
        """Cancel all tasks. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_running(name: str, run: TaskFunction) -> None:
    while True:
        try:
            await run()
        except StorageClosed:
            return
        except StorageUnavailable as failure:
            log.error("%s failed; it is restarted: %s", name, failure)  # noqa: TRY400 (known)
        except Exception:
            log.exception("%s failed; it is restarted", name)
        await asyncio.sleep(PAUSE_SECONDS)
