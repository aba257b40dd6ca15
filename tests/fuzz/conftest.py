"""A running binary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ucan_loop import Loop


@pytest.fixture
def loop(binary: Path) -> Iterator[Loop]:
    started = Loop(binary)
    yield started
    started.end()
