"""Every change of an export is found, at the right row."""

from __future__ import annotations

from collections import Counter

from audit.exports import Export
from audit.tampering import Tampering, tamperings


def wrong(export: Export, tampering: Tampering) -> str | None:
    """What is wrong with the finding; None when it is the right one."""
    pin = export.pin if tampering.pinned else None
    report = export.verify(tampering.lines, pin=pin)
    finding = report.finding
    found = finding.kind if finding is not None else report.state
    rows = (finding.first, finding.last) if finding is not None else (None, None)
    if found not in tampering.kinds.split():
        return f"{tampering.name}: {found} at {rows}, not {tampering.kinds}: {report.message}"
    if tampering.rows not in ((None, None), rows):
        return f"{tampering.name}: rows {rows}, not {tampering.rows}: {report.message}"
    if finding is not None and str(finding.first or "") not in report.message:
        return f"{tampering.name}: the message does not name row {finding.first}: {report.message}"
    return None


def test_every_tampering_is_found_with_the_right_row(export: Export) -> None:
    table = list(tamperings(export))
    mistakes = [said for each in table if (said := wrong(export, each)) is not None]
    assert mistakes == []
    assert len(table) >= 200
    assert len({each.name for each in table}) == len(table)
    kinds = Counter(kind for each in table for kind in each.kinds.split())
    assert len(kinds) >= 18


def test_an_unchanged_export_is_ok(export: Export) -> None:
    for issuer in (export.first_issuer, export.issuer):
        report = export.verify(export.lines, issuer=issuer)
        assert (report.state, report.rows, report.signed) == ("ok", 15, 15)
        assert report.signer == export.issuer
        assert report.warnings == ()
        assert report.as_json()["tail"] == "not_proven"


def test_a_pinned_checkpoint_that_agrees_proves_the_rows_up_to_it(export: Export) -> None:
    report = export.verify(export.lines, pin=export.pin)
    assert report.ok
    assert (report.pinned, report.head.seq) == (12, 15)
    assert report.as_json()["tail"] == "pinned"
