"""One real export for all tests of what can be done to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit.exports import Export, exported

from nomos._io.signer import Link


@pytest.fixture(scope="session")
def link(binary: Path) -> Iterator[Link]:
    link = Link(binary)
    yield link
    link.close()


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory, link: Link) -> Export:
    return asyncio.run(exported(tmp_path_factory.mktemp("audited") / "data", link))
