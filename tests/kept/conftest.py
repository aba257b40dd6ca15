"""The signing binary, and one history that tests of a data folder copy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_folders import History, past

from nomos._io.signer import SignerConnection
from nomos.server.storage import write_probe


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The server runs under asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _readiness_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_probe, "KEPT_SECONDS", 0.0)


@pytest.fixture(scope="module")
def link(binary: Path) -> Iterator[SignerConnection]:
    link = SignerConnection(binary)
    yield link
    link.close()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, link: SignerConnection) -> History:
    return asyncio.run(past(tmp_path_factory.mktemp("history"), link))
