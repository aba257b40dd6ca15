"""Write the cases in this folder: `python tests/vectors/generate.py [--check]`.

Each file holds seeds to load first and cases; a case is one line for the persistent loop and
what must come back, `answer` (exact, but for the id) or `refused` (code and hop). Everything is
fixed, keys and clock included, so writing them again changes nothing; `--check` says so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from vectors import (  # noqa: E402
    attacks,
    cases_checkpoints,
    cases_fork,
    cases_protocol,
    cases_signing,
    cases_verification,
    cases_wanted,
)
from vectors.forge import PARTIES  # noqa: E402


def files() -> dict[Path, str]:
    """Return every file's text."""
    found = {
        "signing.json": (
            "What is signed, byte for byte, and what is not.",
            cases_signing.signing(),
        ),
        "verification.json": (
            "What verifies, and everything it says.",
            [*cases_verification.verification(), *cases_wanted.wants(), *cases_wanted.depths()],
        ),
        "fork.json": (
            "Forking: what is handed on, byte for byte, and what is not.",
            cases_fork.forking(),
        ),
        "checkpoints.json": (
            "Checkpoints: what is signed and not, and what verifies.",
            cases_checkpoints.checkpoints(),
        ),
        "protocol.json": ("Lines that are no requests.", cases_protocol.protocol()),
        "attacks.json": ("One row for each way to cheat.", attacks.table()),
    }
    return {FOLDER / name: document(about, rows) for name, (about, rows) in found.items()}


def document(about: str, rows: list[dict[str, Any]]) -> str:
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names), "two cases have one name"
    content = {"about": about, "seeds": [party.seed for party in PARTIES], "cases": rows}
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"


def stale() -> list[str]:
    """Return the names of files that are not what this program writes."""
    return [
        path.name
        for path, text in files().items()
        if not path.is_file() or path.read_text() != text
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if names := stale():
            sys.exit(f"stale: {', '.join(names)}; run: python tests/vectors/generate.py")
    else:
        for path, text in files().items():
            path.write_text(text)
