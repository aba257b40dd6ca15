"""A store in a temporary folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import store_access

from nomos.server.domain.accounts import ApiKey, App
from nomos.server.storage.steady_clock import Steady
from nomos.server.storage.store import Store

NOW = 1_800_000_000


class Clock:
    """A wall clock: `now += …` lets time pass, `jump` sets it."""

    def __init__(self) -> None:
        self.now: float = NOW
        self.set: float = 0

    def __call__(self) -> float:
        return self.now

    def jump(self, seconds: float) -> None:
        self.now += seconds
        self.set += seconds

    def awake(self) -> float:
        """A clock that is never set."""
        return self.now - self.set


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The server runs under asyncio."""
    return "asyncio"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    """A store with one tenant, `default`, and one app of it, `app_1`."""
    store = Store(tmp_path, clock, steady=Steady(clock, clock.awake))
    await store.migrate()
    await store_access.add_tenant(store, "default", "did:key:issuer")
    await store.add_app(
        App("app_1", "default", "one", NOW), ApiKey("app_1", "default", "agent", "0" * 64)
    )
    yield store
    await store.close()
