"""The example runs as its README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from ticketing import EXAMPLE


def test_the_example_prints_what_its_readme_shows(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "run.py")],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = (EXAMPLE / "README.md").read_text().split("```")[1].splitlines()[3:]
    printed = re.sub(r"(did:key:z6Mk|evt_)\w+", r"\1…", done.stdout).splitlines()
    assert printed == shown
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
