"""Write the cases in this folder: `python tests/vectors/generate.py [--check | --count]`.

Each file holds seeds to load first and cases; a case is one line for the persistent loop and
what must come back, `answer` (exact, but for the id) or `refused` (code and hop), with all else
that the refusal `says` if the case is about that. The files in
`attacks` are written as `attacks.py` says; `--count` prints how long they are. Everything is
fixed, keys and clock included, so writing them again changes nothing; `--check` says so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent
ATTACKS: Final = FOLDER / "attacks"
sys.path.insert(0, str(FOLDER.parent))

from vectors import (  # noqa: E402
    attacks,
    cases_checkpoints,
    cases_fork,
    cases_protocol,
    cases_reasons,
    cases_reasons_of_text,
    cases_reasons_of_use,
    cases_receipts,
    cases_requested,
    cases_signing,
    cases_verification,
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
            [
                *cases_verification.verification(),
                *cases_requested.wants(),
                *cases_requested.depths(),
            ],
        ),
        "reasons.json": (
            "What each refusal says: the sentence, the field, what it had to be, what it was.",
            [
                *cases_reasons.reasons(),
                *cases_reasons_of_text.reasons_of_text(),
                *cases_reasons_of_use.reasons_of_use(),
            ],
        ),
        "fork.json": (
            "Forking: what is handed on, byte for byte, and what is not.",
            cases_fork.forking(),
        ),
        "checkpoints.json": (
            "Checkpoints: what is signed and not, and what verifies.",
            cases_checkpoints.checkpoints(),
        ),
        "receipts.json": (
            "Receipts of verification: what is signed and not, and what verifies.",
            cases_receipts.receipts(),
        ),
        "protocol.json": ("Lines that are no requests.", cases_protocol.protocol()),
    }
    texts = {FOLDER / name: document(about, rows) for name, (about, rows) in found.items()}
    return texts | {ATTACKS / f"{group}.json": attacks.document(group) for group in attacks.GROUPS}


def document(about: str, rows: list[dict[str, Any]]) -> str:
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names), "two cases have one name"
    content = {"about": about, "seeds": [party.seed for party in PARTIES], "cases": rows}
    return json.dumps(content, indent=1, ensure_ascii=True) + "\n"


def stale() -> list[str]:
    """Return the names of files that are not what this program writes."""
    written = files()
    others = [path for path in ATTACKS.glob("*") if path not in written]
    return [
        path.name
        for path, text in written.items()
        if not path.is_file() or path.read_text() != text
    ] + [path.name for path in others]


def counts() -> str:
    """Return the length of the attack table, as a table."""
    rows = attacks.counts()
    total = attacks.Count("all", sum(row.mutations for row in rows), sum(row.rows for row in rows))
    lines = [f"{row.group:12}{row.mutations:10,}{row.rows:8,}" for row in [*rows, total]]
    return "\n".join([f"{'group':12}{'mutations':>10}{'rows':>8}", *lines])


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if names := stale():
            sys.exit(f"stale: {', '.join(names)}; run: python tests/vectors/generate.py")
    elif sys.argv[1:] == ["--count"]:
        print(counts())
    else:
        for path, text in files().items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
