"""The lines of an export."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from audit.exports import encoded

import nomos
from nomos.audit.chain import Head, chained
from nomos.audit.export import End, ExportWriter, Header, MalformedLine, NumberedLine, Token, read
from nomos.audit.findings import AuditFinding, Kind, Report

HEADER = {"type": "header", "v": 1, "tenant": "t", "issuer": "d", "keys": [], "first": 1, "at": "n"}


def test_written_lines_are_read_back() -> None:
    writer = ExportWriter()
    header = Header("acme", "did:key:z", [{"row": {}}], "now")
    first = chained({"id": "evt_1", "text": 'a "quote", é, \U0001f600'}, "acme", Head())
    lines = [
        writer.header(header),
        writer.row(first),
        writer.row(chained({"n": 1.5}, "acme", first.head)),
        writer.checkpoint("a.b.c"),
    ]
    assert writer.digest == hashlib.sha256(b"".join(lines)).hexdigest()
    assert read(lines[0]) == header
    placed = read(lines[1])
    assert isinstance(placed, NumberedLine)
    assert (placed.seq, placed.fits, placed.head) == (1, True, first.head)
    assert placed.follows(Head())
    assert read(lines[3]) == Token("a.b.c")
    assert read(writer.end()) == End(2, 2)
    for line in lines:
        assert line == encoded(json.loads(line))


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": 1},
        {"tenant": "x" * 300},
        {"issuer": None},
        {"at": []},
        {"keys": {}},
        {"first": 2},
        {"first": "1"},
        {"v": 2},
        {"v": "1"},
        {"more": 1},
    ],
)
def test_a_changed_header_is_malformed(change: dict[str, Any]) -> None:
    assert isinstance(read(encoded(HEADER)), Header)
    with pytest.raises(MalformedLine):
        read(encoded({**HEADER, **change}))


def test_a_report_has_all_its_fields_as_json() -> None:
    finding = AuditFinding("cut", "gone", 9, 4, 5)
    report = Report("wrong", "gone", rows=3, finding=finding)
    assert report.as_json() == {
        "state": "wrong",
        "message": "gone",
        "rows": 3,
        "last": {"seq": 0, "hash": "0" * 64},
        "signed": 0,
        "tail": "not_proven",
        "warnings": [],
        "finding": {"kind": "cut", "line": 9, "first": 4, "last": 5},
    }
    full = Report("ok", "fine", tenant="t", signer="d", pinned=7).as_json()
    assert (full["tail"], full["pinned"], full["tenant"], full["signer"]) == ("pinned", 7, "t", "d")


def test_every_kind_of_finding_is_documented() -> None:
    page = (Path(nomos.__file__).parent.parent / "docs" / "audit.md").read_text()
    assert [kind for kind in get_args(Kind) if f"`{kind}`" not in page] == []
