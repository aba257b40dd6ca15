"""A root agent, and a folder for temporary files."""

from __future__ import annotations

from pathlib import Path

import pytest
from swarm.family import Agent, agent

from nomos._io import child_files


@pytest.fixture
def planner() -> Agent:
    """Has a grant, and its key is this process's."""
    return agent()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of this process and its children only."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(child_files, "_place", None)
    return tmp_path
