"""The examples run as their README says, with scripted input of the operator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLANNER = Path(__file__).parent.parent / "examples" / "swarm" / "planner.py"


@pytest.mark.parametrize("answer", ["y", "n"])
def test_the_example_runs_with_both_answers_of_the_operator(answer: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PLANNER)],
        input=f"{answer}\n",
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "wants /filesystem/file/write" in done.stdout
    assert "'# This week\\n\\n- Three issues are open.\\n" in done.stdout
    assert "is researcher.py" in done.stderr
    if answer == "y":
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("- The next release is on Friday.\n\n")
    else:
        assert done.returncode == 1
        assert "the writer was denied: nothing is published" in done.stderr
        assert "published/report.md:" not in done.stdout
    assert list(tmp_path.iterdir()) == []
