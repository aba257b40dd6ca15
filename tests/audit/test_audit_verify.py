"""Verification of exports: truncated files, pinned checkpoints, clocks and versions."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from audit.exports import NOW, Export, encoded, fitted, rechained, refusing
from audit.tampering import swap, turned
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from nomos._protocol import Checkpoint, Refused
from nomos.audit.chain import ChainedRow, Head, chained
from nomos.audit.counted_refusals import counted
from nomos.audit.export import MAX_LINE, ExportWriter, Header, read_lines
from nomos.audit.findings import MAX_WARNINGS, Report
from nomos.audit.timestamp_checks import TOLERANCE_SECONDS
from nomos.audit.verify import verify

# Files that are cut, and files that are none


def test_a_file_cut_after_any_line_is_incomplete_and_not_tampered_with(export: Export) -> None:
    for count in range(1, len(export.lines)):
        report = export.verify(export.lines[:count])
        rows = export.row_before(count)
        assert (report.state, report.finding, report.rows) == ("incomplete", None, rows)
        assert "it ends in the middle" in report.message
        assert f"{rows} row" in report.message


def test_a_file_cut_within_any_line_is_incomplete(export: Export) -> None:
    whole = b"".join(export.lines)
    for size in range(1, len(whole) - 1, 89):
        report = export.verify(whole[:size].splitlines(keepends=True))
        assert (report.state, report.finding) == ("incomplete", None), size
        assert report.rows <= whole[:size].count(b'"type":"row"')


def test_a_missing_newline_at_the_end_is_accepted(export: Export) -> None:
    assert export.verify([*export.lines[:-1], export.lines[-1].rstrip(b"\n")]).ok


def test_a_cut_and_changed_file_is_reported_as_changed(export: Export) -> None:
    second = export.of("row")[1]
    row = export.json(second)
    lines = swap(export, second, {**row, "row": {**row["row"], "at": 1}})[: second + 3]
    assert export.verify(lines).finding is not None


def test_a_missing_row_is_looked_for_past_lines_that_cannot_be_read(export: Export) -> None:
    lines = [*export.lines[:2], *export.lines[3:6], b"junk\n", *export.lines[6:]]
    for found, kind in ((lines, "removed"), ([*lines, export.lines[2]], "moved")):
        finding = export.verify(found).finding
        assert finding is not None
        assert (finding.kind, finding.first, finding.line) == (kind, 2, 3)


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (b"", "unreadable"),
        (b"\n", "unreadable"),
        (b"what is this?\n", "unreadable"),
        (b"{", "incomplete"),
        (b"{}\n", "unreadable"),
        (b"[]\n", "unreadable"),
        (b'{"type":"header","v":2}\n', "unreadable"),
        (b"\x00" * 100 + b"\n", "unreadable"),
        (b"x" * (MAX_LINE + 10) + b"\n", "unreadable"),
    ],
)
def test_a_file_that_is_no_export_is_reported_as_such(content: bytes, state: str) -> None:
    lines = read_lines(io.BytesIO(content).readline)
    report = verify(lines, "did:key:z", refusing)
    assert (report.state, report.rows, report.finding) == (state, 0, None)
    assert report.message
    assert not report.ok


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=some.data())
def test_no_byte_can_be_changed(export: Export, data: some.DataObject) -> None:
    index = data.draw(some.integers(0, len(export.lines) - 1))
    raw = bytearray(export.lines[index])
    at = data.draw(some.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(some.integers(1, 255))
    lines = [*export.lines[:index], bytes(raw), *export.lines[index + 1 :]]
    report = export.verify(b"".join(lines).splitlines(keepends=True))
    last = index == len(export.lines) - 1 and at == len(raw) - 1
    assert not report.ok or last
    if export.json(index)["type"] == "row":
        finding = report.finding
        assert finding is not None
        assert finding.first == export.json(index)["row"]["seq"]


# What the reader knows


def test_an_issuer_outside_of_the_key_log_is_unknown(export: Export) -> None:
    report = export.verify(export.lines, issuer=export.unrelated)
    assert report.state == "wrong"
    assert report.finding is not None
    assert report.finding.kind == "unknown_issuer"
    assert export.unrelated in report.message


def test_rows_signed_only_by_an_older_key_are_not_proven_from_a_newer_one(
    export: Export,
) -> None:
    """Anyone can make a key and let it name a known one as its successor."""
    lines = export.resigned(export.lines, export.first_issuer)
    report = export.verify(lines, issuer=export.issuer)
    assert report.finding is not None
    assert (report.finding.kind, report.finding.first, report.finding.last) == ("unsigned", 1, 15)


def test_a_made_up_key_before_the_known_one_cannot_end_an_export(export: Export) -> None:
    """The header is anyone's to write, up to the key that the reader knows."""
    made_up = [chained({"did": export.unrelated, "at": 1}, "default", Head())]
    made_up.append(chained({"did": export.issuer, "at": 2}, "default", made_up[0].head))
    keys = [
        {
            "row": json.loads(row.text),
            "hash": row.hash,
            "checkpoint": export.sign(export.unrelated, row.seq, row.hash, log="keys"),
        }
        for row in made_up
    ]
    pinned = export.of("checkpoint")[-2]
    rows = [export.lines[index] for index in export.of("row") if index < pinned]
    head = json.loads(rows[-1])
    lines = [encoded({**export.json(0), "keys": keys}), *rows, export.lines[pinned]]
    nonce = hashlib.sha256(b"".join(lines)).hexdigest()
    last = export.sign(export.unrelated, len(rows), head["hash"], nonce=nonce)
    lines.append(encoded({"type": "checkpoint", "token": last}))
    lines.append(encoded({"type": "end", "rows": len(rows), "last": len(rows)}))
    report = export.verify(lines, issuer=export.issuer)
    assert report.finding is not None
    assert report.finding.kind == "not_as_exported"
    assert f"by {export.unrelated}, which {export.issuer} has replaced" in report.message
    assert report.signer is None


def test_a_replaced_key_cannot_end_an_export(export: Export) -> None:
    """Were it stolen, it could say that the log ends earlier, or go on as it likes."""
    stolen = export.resigned(export.lines, export.first_issuer)
    shorter = [*export.lines[: export.of("checkpoint")[-2]], *stolen[-2:]]
    nonce = hashlib.sha256(b"".join(shorter[:-2])).hexdigest()
    head = json.loads(shorter[-3])
    seq = head["row"]["seq"]
    last = export.sign(export.first_issuer, seq, head["hash"], nonce=nonce)
    shorter[-2:] = [
        encoded({"type": "checkpoint", "token": last}),
        encoded({"type": "end", "rows": seq, "last": seq}),
    ]
    # After the real last checkpoint, whose nonce does not cover what follows it.
    head = export.json(export.of("row")[-1])
    seq = head["row"]["seq"]
    again = export.sign(export.first_issuer, seq, head["hash"])
    one_more = encoded({"type": "checkpoint", "token": again})
    longer = [*export.lines[:-1], one_more, export.lines[-1]]
    row = {**head["row"], "seq": seq + 1, "prev_hash": head["hash"], "id": "evt_made_up"}
    after = export.sign(export.first_issuer, seq + 1, json.loads(fitted(row))["hash"])
    further = [
        *export.lines[:-1],
        fitted(row),
        encoded({"type": "checkpoint", "token": after}),
        encoded({"type": "end", "rows": seq + 1, "last": seq + 1}),
    ]
    for lines in (stolen, shorter, longer, further):
        report = export.verify(lines)
        assert report.finding is not None
        assert report.finding.kind == "not_as_exported"
        assert "only the newest key" in report.message
        assert not export.verify(lines, issuer=export.issuer).ok


def test_checkpoints_of_earlier_keys_do_not_locate_a_change(export: Export) -> None:
    first, *_, last = export.of("row")
    changed = fitted({**export.json(first)["row"], "purpose": "another"})
    lines = rechained([export.lines[0], changed, *export.lines[first + 1 :]], 1)
    made: list[bytes] = []
    for line in lines:
        said = json.loads(line)
        if said["type"] == "row":
            head = said
        elif said["type"] == "checkpoint" and export.said(said["token"]).iss != export.issuer:
            seq, row_hash = head["row"]["seq"], head["hash"]
            token = export.sign(export.first_issuer, seq, row_hash)
            line = encoded({"type": "checkpoint", "token": token})  # noqa: PLW2901
        made.append(line)
    report = export.verify(made, issuer=export.issuer)
    assert report.finding is not None
    assert (report.finding.kind, report.finding.first) == ("rewritten", 1)
    assert last > first


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "x" * 5000, "\ud800", "é.b.c"])
def test_an_invalid_pinned_checkpoint_is_refused(export: Export, token: str) -> None:
    report = export.verify(export.lines, pin=token)
    assert (report.state, report.finding) == ("unreadable", None)
    assert "the pinned checkpoint cannot be used" in report.message


def test_a_pinned_checkpoint_by_another_key_does_not_fit_the_file(export: Export) -> None:
    said = export.said(export.pin)
    forged = export.sign(export.unrelated, said.seq, said.head)
    # Known by the new key alone, what the old one signed proves nothing.
    old = export.sign(export.first_issuer, said.seq, said.head)
    report = export.verify(export.lines, pin=forged, issuer=export.first_issuer)
    assert report.finding is not None
    assert report.finding.kind == "pin"
    assert "the file's key log does not lead to" in report.message
    assert export.verify(export.lines, pin=old).ok
    later = export.verify(export.lines, pin=old, issuer=export.issuer)
    assert later.state == "unreadable"
    assert f"{export.first_issuer} signed it, a key before" in later.message


@pytest.mark.parametrize("other", [{"log": "keys"}, {"tenant": "other"}])
def test_a_pinned_checkpoint_of_another_log_is_reported(
    export: Export, other: dict[str, Any]
) -> None:
    said = export.said(export.pin)
    report = export.verify(
        export.lines, pin=export.sign(export.issuer, said.seq, said.head, **other)
    )
    assert report.finding is not None
    assert report.finding.kind == "pin"
    assert next(iter(other.values())) in report.message


def test_a_pinned_checkpoint_may_be_over_any_row(export: Export) -> None:
    for index in export.of("row"):
        row = export.json(index)
        seq = row["row"]["seq"]
        good = export.sign(export.issuer, seq, row["hash"])
        assert export.verify(export.lines, pin=good).pinned == seq
        report = export.verify(
            export.lines, pin=export.sign(export.issuer, seq, turned(row["hash"]))
        )
        assert report.finding is not None
        assert report.finding.kind == "pin_contradicted"
        assert (report.finding.first, report.finding.last) == (1, seq)


def test_a_pinned_checkpoint_of_a_later_row_reports_the_missing_rows(export: Export) -> None:
    report = export.verify(export.lines, pin=export.sign(export.issuer, 20, "a" * 64))
    assert report.finding is not None
    assert (report.finding.kind, report.finding.first, report.finding.last) == ("cut", 16, 20)


# Logs made by hand


def test_an_empty_signed_log_is_ok(export: Export) -> None:
    report = by_hand(export, [])
    assert (report.state, report.rows) == ("ok", 0)
    assert "0 rows" in report.message


def test_an_empty_unsigned_log_is_wrong(export: Export) -> None:
    writer = ExportWriter()
    lines = [writer.header(header(export)), writer.end()]
    report = export.verify(lines, issuer=export.issuer)
    assert report.finding is not None
    assert report.finding.kind == "unsigned"


def test_members_that_a_newer_server_adds_are_held_by_the_hash(export: Export) -> None:
    rows = [{"id": "evt_1", "kind": "decision", "at": NOW * 1000, "brand_new": {"x": 1}}]
    assert by_hand(export, rows).ok


def test_a_row_without_a_time_is_ok(export: Export) -> None:
    assert by_hand(export, [{"at": "noon"}, {"id": "x"}]).ok


def test_a_row_of_another_version_is_not_verified(export: Export) -> None:
    row = {"v": 2, "tenant": "default", "seq": 1, "prev_hash": "0" * 64}
    report = export.verify(
        [header(export).line(), fitted(row), fitted({**row, "seq": 2})], issuer=export.issuer
    )
    assert (report.state, report.finding) == ("unreadable", None)
    assert "row 1 is of version 2" in report.message


def test_a_message_about_one_row_is_in_the_singular(export: Export) -> None:
    assert by_hand(export, [{"at": NOW * 1000}]).message.startswith("1 row in order")
    lines = made(export, [{"at": NOW * 1000}])
    assert "1 row up to there is" in export.verify(lines[:2], issuer=export.issuer).message


def test_a_single_row_that_contradicts_its_checkpoint_is_reported(export: Export) -> None:
    lines = made(export, [{"at": NOW * 1000}])
    row = json.loads(lines[1])["row"]
    changed = [lines[0], fitted({**row, "at": 1}), *lines[2:]]
    report = export.verify(changed, issuer=export.issuer)
    assert report.finding is not None
    assert (report.finding.kind, report.finding.first, report.finding.last) == ("rewritten", 1, 1)


# Clocks


def test_clocks_that_differ_are_a_warning_only(export: Export) -> None:
    late = (NOW + TOLERANCE_SECONDS + 5) * 1000
    report = by_hand(export, [{"at": late}])
    assert report.ok
    assert len(report.warnings) == 1
    assert f"was signed {TOLERANCE_SECONDS + 5} s before row 1" in report.warnings[0]
    assert "clocks disagree" in report.warnings[0]


def test_rows_may_be_slightly_out_of_order_in_time(export: Export) -> None:
    near = NOW * 1000
    assert by_hand(export, [{"at": near}, {"at": near - 59_000}]).warnings == ()
    report = by_hand(export, [{"at": near}, {"at": near - 3_600_000}])
    assert report.ok
    assert "row 2 says that it happened 3600 s before row 1" in report.warnings[0]


def test_warnings_are_bounded(export: Export) -> None:
    rows = [{"at": (NOW - hour * 3600) * 1000} for hour in range(MAX_WARNINGS + 4)]
    warnings = by_hand(export, rows).warnings
    assert len(warnings) == MAX_WARNINGS + 1
    assert warnings[-1] == "and 3 more like these"


# Reading as it comes


def test_memory_does_not_grow_with_the_file(export: Export) -> None:
    def peak(rows: int) -> int:
        tracemalloc.start()
        report = verify(endless(rows), export.issuer, agreeing)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert report.rows == rows
        return found

    def endless(rows: int) -> Iterator[bytes]:
        writer, head = ExportWriter(), Head()
        yield writer.header(header(export))
        for _ in range(rows):
            made = chained({"at": 1, "purpose": "x" * 1000}, "default", head)
            head = made.head
            yield writer.row(made)

    peak(10)
    # Other threads of this process may allocate meanwhile: the least of three is the reader's own.
    assert min(peak(2000) for _ in range(3)) < peak(20) + 100_000


def test_lines_are_read_one_at_a_time_and_no_longer_than_allowed() -> None:
    content = b"a\n" + b"b" * (MAX_LINE + 5) + b"\nc"
    lines = list(read_lines(io.BytesIO(content).readline))
    assert [len(line) for line in lines] == [2, MAX_LINE + 1, 5, 1]


def agreeing(token: str, issuers: Sequence[str]) -> Checkpoint | Refused:
    raise AssertionError("there is no checkpoint in this file")


def header(export: Export) -> Header:
    return Header("default", export.issuer, [], "2027-01-15T08:00:00.000Z")


def made(export: Export, rows: Sequence[dict[str, Any]]) -> list[bytes]:
    """An export as the server makes it, of these rows."""
    writer, head = ExportWriter(), Head()
    lines = [writer.header(header(export))]
    placed: ChainedRow
    for row in rows:
        placed = chained(row, "default", head)
        head = placed.head
        lines.append(writer.row(placed))
    token = export.sign(export.issuer, head.seq, head.hash, nonce=writer.digest)
    return [*lines, writer.checkpoint(token), writer.end()]


def by_hand(export: Export, rows: Sequence[dict[str, Any]]) -> Report:
    return export.verify(made(export, rows), issuer=export.issuer)


def test_the_nonce_is_the_hash_of_the_row_before(export: Export) -> None:
    final = export.of("checkpoint")[-1]
    said = export.said(export.json(final)["token"])
    assert said.nonce == hashlib.sha256(b"".join(export.lines[:final])).hexdigest()


def test_rows_chained_again_without_change_are_the_same(export: Export) -> None:
    assert rechained(export.lines, 1) == list(export.lines)
    assert [encoded(json.loads(line)) for line in export.lines] == list(export.lines)


def test_counted_calls_are_reported(export: Export) -> None:
    begin = {"kind": "call", "act": "fold_begin"}
    counts = [{"kind": "call", "act": "fold", "detail": {"count": count}} for count in (900, 7)]
    whole = by_hand(export, [{"kind": "app", "act": "fold"}, begin, *counts])
    assert whole.ok
    (warning,) = whole.warnings
    assert warning.startswith("907 refused calls were too many at once")
    assert "rows 2 to 4 count them" in warning
    assert "last count is not in the log" in by_hand(export, [*counts, begin]).warnings[0]


@pytest.mark.parametrize("detail", [None, [], {}, {"count": True}, {"count": -1}, {"count": "9"}])
def test_an_invalid_count_is_ignored(detail: object) -> None:
    assert counted("fold", detail) == 0
    assert counted("fold_begin", {"count": 3}) == 0
    assert counted("fold", {"count": 3}) == 3
