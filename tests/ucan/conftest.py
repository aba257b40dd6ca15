"""A running binary, and the published vectors if they are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ucan_loop import Loop


@pytest.fixture
def loop(binary: Path) -> Iterator[Loop]:
    """A fresh process that holds no keys."""
    started = Loop(binary)
    yield started
    if started.process.poll() is None:
        started.end()


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of published test vectors, kept outside this repository."""
    folder = os.environ.get("NOMOS_VECTORS")
    if not folder:
        pytest.skip("NOMOS_VECTORS does not name a folder of published test vectors")
    return Path(folder)
