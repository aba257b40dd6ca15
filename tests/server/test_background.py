"""Background tasks are restarted after failures, and end with their database."""

from __future__ import annotations

import asyncio
import logging

import pytest

from nomos.server.background import tasks
from nomos.server.background.tasks import BackgroundTasks
from nomos.server.storage.database import StorageClosed, StorageUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_failed_task_is_logged_and_restarted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks, "PAUSE_SECONDS", 0)
    begun, third = 0, asyncio.Event()

    async def chore() -> None:
        nonlocal begun
        begun += 1
        if begun == 3:
            third.set()
            await asyncio.Event().wait()
        raise StorageUnavailable("too many writes")

    under_way = BackgroundTasks()
    under_way.start("tidying", chore)
    await asyncio.wait_for(third.wait(), 10)
    await under_way.close()
    messages = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert messages == ["tidying failed; it is restarted: too many writes"] * 2
    assert "Traceback" not in caplog.text


async def test_an_unexpected_failure_is_logged_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks, "PAUSE_SECONDS", 60)
    begun = asyncio.Event()

    async def chore() -> None:
        begun.set()
        raise KeyError("odd")

    under_way = BackgroundTasks()
    under_way.start("tidying", chore)
    await asyncio.wait_for(begun.wait(), 10)
    await asyncio.sleep(0)
    await under_way.close()
    assert "tidying failed; it is restarted" in caplog.text
    assert "Traceback" in caplog.text and "odd" in caplog.text


async def test_a_task_whose_database_is_closed_ends_silently(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = asyncio.Event()

    async def chore() -> None:
        ended.set()
        raise StorageClosed

    under_way = BackgroundTasks()
    under_way.start("tidying", chore)
    await asyncio.wait_for(ended.wait(), 10)
    await asyncio.sleep(0.05)
    assert [task.done() for task in under_way._tasks] == [True]
    await under_way.close()
    assert caplog.records == []
