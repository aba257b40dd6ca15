"""One real export, shared by the tests that change it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit.exports import Export, exported

from nomos._io.signer import SignerConnection


@pytest.fixture(scope="session")
def link(binary: Path) -> Iterator[SignerConnection]:
    link = SignerConnection(binary)
    yield link
    link.close()


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory, link: SignerConnection) -> Export:
    return asyncio.run(exported(tmp_path_factory.mktemp("audited") / "data", link))
