"""A clean environment for every test, and what many tests need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nomos._io.locate import find_binary


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person who runs it."""
    for name in list(os.environ):
        if name.startswith("NOMOS_") and name not in ("NOMOS_VECTORS", "NOMOS_UCAN_BIN"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def binary() -> Path:
    """The compiled `nomos-ucan` of this installation."""
    return find_binary()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Async tests run under both loops."""
    return str(request.param)
