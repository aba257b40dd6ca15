"""A probe of whether a decision could be stored now: free space, and rows that are rolled back.

What is rolled back never reaches the disk, so a row of the size of a large decision is committed as
well, always the same one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.server.storage import nonces, records
from nomos.server.storage.failures import StorageUnavailable
from nomos.server.storage.tables import api_keys, probes, revocations

LEAST_FREE: Final = 32 * 1024 * 1024  # bytes that must be free for a server to be ready
SIZE: Final = 32 * 1024
"""Bytes that are written: more than a decision with the largest arguments."""

KEPT_SECONDS: Final = 1.0  # how long one result is used for all callers
TENANT: Final = "nomos:probe"
"""The tenant of the rows that are rolled back; no tenant has such a name."""


def check_room(folder: Path) -> None:
    """Raise StorageUnavailable if less than `LEAST_FREE` bytes are free for this user."""
    try:
        found = os.statvfs(folder)
    except OSError as failure:
        raise StorageUnavailable(
            f"the disk of the data folder cannot be examined: {failure.strerror}"
        ) from None
    free = found.f_bavail * found.f_frsize
    if free < LEAST_FREE:
        raise StorageUnavailable(
            f"the disk of the data folder has {free // 1024} KiB left, and {LEAST_FREE // 1024} "
            "KiB are required: free space, or decisions will fail"
        )


def probe(connection: Connection, now: float) -> None:
    """Write rows as a decision and a call do, roll them back, and write a row of that size."""
    connection.execute(sa.select(api_keys.c.id).limit(1)).all()
    connection.execute(sa.select(revocations.c.id).limit(1)).all()
    savepoint = connection.begin_nested()
    at = int(now * 1000)
    records.add(connection, Record(records.new_receipt_id(at), TENANT, "decision", at))
    nonces.claim(connection, nonces.UsedNonce(TENANT, TENANT, str(at), int(now)))
    connection.execute(probes.insert(), {"id": 2, "content": bytes(SIZE)})
    savepoint.rollback()
    connection.execute(probes.delete())
    connection.execute(probes.insert(), {"id": 1, "content": bytes(SIZE)})


class WriteProbe:
    """Results of `probe`, one for all callers within a second."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[None] | None = None
        self._at = 0.0

    async def result(self) -> None:
        """Return if a decision could be stored; raise StorageUnavailable if not."""
        now = time.monotonic()
        task = self._asking
        if task is None or (task.done() and now - self._at >= KEPT_SECONDS):
            task = self._asking = asyncio.create_task(self._ask())
            self._at = now
            task.add_done_callback(_seen)
        await asyncio.shield(task)


def _seen(task: asyncio.Task[None]) -> None:
    """Retrieve the exception: if all callers were cancelled, none has done so."""
    if not task.cancelled():
        task.exception()
