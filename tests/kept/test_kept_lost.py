"""A database that was rolled back: the error names the lost rows and the documentation."""

from __future__ import annotations

from pathlib import Path

from nomos.audit.chain import Head
from nomos.server.storage.anchor import AnchorMark
from nomos.server.storage.anchor_keeper import compare

TITLE = "Going back to a backup on purpose"


def ends(audit: int, revocations: int, keys: int = 1) -> tuple[tuple[str, str, Head], ...]:
    found = {"audit": audit, "revocations": revocations, "keys": keys}
    return tuple(("default", log, Head(seq, "0" * 64)) for log, seq in found.items() if seq)


def test_the_rows_that_are_lost_are_named() -> None:
    before, after = AnchorMark("d", 5, ends(3, 0)), AnchorMark("d", 9, ends(7, 2))
    said = compare(after, before)
    assert said is not None
    assert "ends with commit 5, and commit 9 was made" in said
    assert "rows 4 to 7 of the audit log of tenant default" in said
    assert "rows 1 to 2 of the revocations of tenant default" in said
    assert "issuer keys" not in said
    assert TITLE in said
    assert compare(before, after) is None


def test_no_loss_is_reported_if_all_logs_are_complete() -> None:
    said = compare(AnchorMark("d", 9, ends(3, 1)), AnchorMark("d", 5, ends(3, 1)))
    assert said is not None
    assert "lost" not in said


def test_the_documentation_has_what_the_message_names() -> None:
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    assert f"### {TITLE}\n" in text
