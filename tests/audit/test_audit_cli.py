"""`nomos audit`, against a running server and, for `verify`, without one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from audit.exports import Export
from audit.tampering import swap_raw
from rich.console import Console
from typer.testing import CliRunner, Result

from nomos import AuthGuard
from nomos.cli.app import app
from nomos.cli.audit import files, view
from nomos.errors import ConfigurationError, InvalidResponse

POLICY: Final = """
@id("files") permit(principal, action in Action::"/filesystem", resource is Filesystem);
@id("writes") @step_up("lead") @reason("a lead reads what is written")
forbid(principal, action == Action::"/filesystem/file/write", resource is Filesystem)
unless { context.cosigned };
@id("secret") forbid(principal, action, resource is Filesystem)
when { resource.path like "secret/*" };
"""

FILE: Final = {"provider": "filesystem", "path": "a.txt"}
WRITE: Final[dict[str, Any]] = {
    "command": "/filesystem/file/write",
    "resource": FILE,
    "args": {"content": "hi"},
}

run = CliRunner()


@pytest.fixture(scope="module")
def guard() -> Iterator[AuthGuard]:
    """A server on which something was asked, approved, allowed, done and refused."""
    with AuthGuard.embedded(policies=POLICY) as guard:
        secret = {"provider": "filesystem", "path": "secret/key"}
        guard.authorize(command="/filesystem/file/read", resource=secret, purpose="curious")
        asked = guard.authorize(**WRITE)
        assert asked.approval_envelope_id is not None
        guard.approvals.decide(asked.approval_envelope_id, approve=True, reason="fine")
        allowed = guard.authorize(**WRITE, cosigner_envelope_id=asked.approval_envelope_id)
        written = httpx.put(
            f"{guard.pdp_url}/filesystem/file/write",
            json={"path": "a.txt", "content": "hi"},
            headers=allowed.headers(),
            trust_env=False,
        )
        assert written.status_code == 200, written.text
        yield guard


@pytest.fixture
def operator(
    guard: AuthGuard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    """The environment of the server's operator."""
    key = guard.approvals.operator_key
    assert key is not None
    file = tmp_path / "operator-api-key"
    file.touch(mode=0o600)
    file.write_text(key.reveal())
    assert guard.control_plane_url is not None
    return {"NOMOS_CONTROL_URL": guard.control_plane_url, "NOMOS_OPERATOR_KEY_FILE": str(file)}


def nomos(*args: str, env: Mapping[str, str] | None = None) -> Result:
    return run.invoke(app, ["audit", *args], env=dict(env or {}))


def good(*args: str, env: Mapping[str, str]) -> str:
    result = nomos(*args, env=env)
    assert result.exit_code == 0, result.output
    return result.stdout


def issuer(operator: Mapping[str, str]) -> str:
    known = httpx.get(f"{operator['NOMOS_CONTROL_URL']}/.well-known/nomos", trust_env=False)
    did: str = known.json()["issuers"][0]["did"]
    return did


# Looking


def test_tail_shows_one_line_for_each_record(operator: Mapping[str, str]) -> None:
    lines = good("tail", env=operator).splitlines()
    assert any("deny" in line and "by secret" in line and "policy_denied" in line for line in lines)
    assert any("requires_step_up" in line for line in lines)
    assert any("call" in line and "allow" in line and "HTTP 200" in line for line in lines)
    assert not any("\x1b" in line for line in lines)
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == sorted(numbers)
    assert good("tail", "-n", "1", env=operator).splitlines() == lines[-1:]
    entries = [json.loads(line) for line in good("tail", "--json", env=operator).splitlines()]
    assert [entry["row"]["seq"] for entry in entries] == numbers


def test_tail_follows_new_records(operator: Mapping[str, str], guard: AuthGuard) -> None:
    command = [sys.executable, "-m", "nomos", "audit", "tail", "-f", "-n", "1"]
    process = subprocess.Popen(
        command, env=os.environ | operator, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        process.stdout.readline()
        grant = guard.authorize(command="/filesystem/file/read", resource=FILE)
        assert str(grant.receipt_id) in process.stdout.readline()
    finally:
        timer.cancel()
        process.send_signal(2)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_tail_polls_until_interrupted(
    operator: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = iter([None, None])

    def wait(seconds: float) -> None:
        if next(waits, seconds) is not None:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    assert len(good("tail", "-f", "-n", "2", env=operator).splitlines()) == 2
    assert next(waits, "asked twice") == "asked twice"


def test_a_tree_has_all_records_from_question_to_outcome(operator: Mapping[str, str]) -> None:
    rows = [json.loads(line)["row"] for line in good("tail", "--json", env=operator).splitlines()]
    question = next(row for row in rows if row.get("decision") == "requires_step_up")
    lines = good("tree", question["id"], env=operator).splitlines()
    assert [kind for line in lines for kind in KINDS if f" {kind} " in line] == [
        *("decision", "approval", "decision", "call", "call"),
    ]
    depths = [len(line) - len(line.lstrip("│├└─ ")) for line in lines]
    # Votes, and the allow that followed, are under the question.
    assert depths == [0, 4, 4, 8, 12]
    assert "this one" in lines[0]
    assert f"{question['id']}" in good("tree", env=operator)
    missing = nomos("tree", "evt_" + "0" * 26, env=operator)
    assert (missing.exit_code, "no receipt" in missing.output) == (1, True)


KINDS: Final = ("decision", "approval", "call", "policy", "app", "key", "session", "revocation")


def test_a_receipt_is_shown_and_verified(operator: Mapping[str, str], link: object) -> None:
    row = json.loads(good("tail", "--json", "-n", "1", env=operator))["row"]
    shown = nomos("receipt", row["id"], "--issuer", issuer(operator), env=operator)
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["row"] == row
    assert "verified: signed by" in shown.stderr
    unrelated = "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"
    wrong = nomos("receipt", row["id"], "--issuer", unrelated, env=operator)
    assert (wrong.exit_code, "belongs to another issuer" in wrong.output) == (1, True)
    assert nomos("receipt", row["id"], env=operator).exit_code == 0


def test_a_receipt_cannot_steer_the_terminal(operator: Mapping[str, str], guard: AuthGuard) -> None:
    purpose = "\u202e \u2028 é"
    read = "/filesystem/file/read"
    grant = guard.authorize(command=read, resource=FILE, purpose=purpose)
    shown = good("receipt", str(grant.receipt_id), env=operator)
    assert shown.isascii()
    assert json.loads(shown)["row"]["purpose"] == purpose


# Taking away and verifying


def test_an_export_is_verified_with_a_kept_checkpoint(
    operator: Mapping[str, str], tmp_path: Path
) -> None:
    pin, file = tmp_path / "audit.pin", tmp_path / "audit.ndjson"
    pin.write_text(good("checkpoint", env=operator))
    good("export", "--out", str(file), env=operator)
    assert (
        nomos("export", env=operator).stdout_bytes.splitlines()[1:-2]
        == (file.read_bytes().splitlines()[1:-2])
    )
    assert file.stat().st_mode & 0o077 == 0
    assert [found.name for found in tmp_path.iterdir() if found.name.startswith(".")] == []
    known = ["--issuer", issuer(operator)]
    without = nomos("verify", str(file), *known)
    assert (without.exit_code, "the end of the log is not proven" in without.stdout) == (0, True)
    for token in (str(pin), pin.read_text().strip()):
        pinned = nomos("verify", str(file), *known, "--checkpoint", token)
        assert (pinned.exit_code, "the checkpoint over row" in pinned.stdout) == (0, True)
    asked = json.loads(good("checkpoint", "--json", env=operator))
    pin.write_text(json.dumps(asked))
    assert nomos("verify", str(file), *known, "--checkpoint", str(pin)).exit_code == 0


def test_verify_exits_0_if_ok_1_if_wrong_2_if_incomplete(export: Export, tmp_path: Path) -> None:
    file = tmp_path / "audit.ndjson"
    known = ["--issuer", export.first_issuer]
    changed = export.lines[3].replace(b'"acme"', b'"evil"')
    cases = {
        0: (b"".join(export.lines), "ok: 15 rows"),
        1: (b"".join(swap_raw(export, 3, changed)), "WRONG: row 3 was changed"),
        2: (b"".join(export.lines)[:-30], "INCOMPLETE: this export is incomplete"),
    }
    for status, (content, said) in cases.items():
        file.write_bytes(content)
        shown = nomos("verify", str(file), *known)
        assert (shown.exit_code, said in shown.stdout) == (status, True), shown.output
        as_json = nomos("verify", str(file), *known, "--json")
        assert as_json.exit_code == status
        assert json.loads(as_json.stdout)["state"] == ("ok", "wrong", "incomplete")[status]
        piped = run.invoke(app, ["audit", "verify", "-", *known], input=content)
        assert piped.exit_code == status


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere.ndjson", "--issuer", "did:key:z6Mk" + "a" * 44], "nowhere.ndjson: No such file"),
        ([".", "--issuer", "did:key:z6Mk" + "a" * 44], "Is a directory"),
        (["-", "--issuer", "did:web:example"], "not the DID of an issuer"),
        (["-", "--issuer", "did:key:z6Mk" + "a" * 44], "it is empty"),
    ],
)
def test_an_unreadable_file_exits_with_2(args: list[str], said: str) -> None:
    result = nomos("verify", *args)
    assert result.exit_code == 2
    assert said in result.output


def test_an_invalid_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pin"
    for content in (b"", b"hello", b"{}", b'{"checkpoint": 1}', b"{", b"\xff\xff"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="holds no checkpoint"):
            files.read_pin(str(file))
    with pytest.raises(ConfigurationError, match="No such file"):
        files.read_pin(str(tmp_path / "none"))
    assert files.read_pin(None) is None
    assert files.read_pin("a.b.c") == "a.b.c"


def test_verify_needs_the_core_alone(export: Export, tmp_path: Path) -> None:
    """Where the server's dependencies are not installed, on a machine without a server."""
    file = tmp_path / "audit.ndjson"
    file.write_bytes(b"".join(export.lines))
    program = """
import sys
for name in ("fastapi", "starlette", "uvicorn", "sqlalchemy", "cedarpy", "alembic", "yaml"):
    sys.modules[name] = None
from nomos.cli.app import app
sys.argv = ["nomos", "audit", "verify", *sys.argv[1:]]
app()
"""
    command = [sys.executable, "-c", program, str(file), "--issuer", export.issuer]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok: 15 rows in order" in done.stdout


def test_an_interrupted_export_leaves_no_file(export: Export, tmp_path: Path) -> None:
    lines = [line.rstrip(b"\n") for line in export.lines]
    file = tmp_path / "audit.ndjson"
    counts: list[int] = []
    assert files.save(iter(lines), file, counts.append) == 15
    assert file.read_bytes() == b"".join(export.lines)
    for cut in (lines[:-1], [*lines[:4], lines[4][:20]], []):
        with pytest.raises(InvalidResponse, match="is incomplete"):
            files.save(iter(cut), tmp_path / "cut", counts.append)
        with pytest.raises(InvalidResponse), (tmp_path / "half").open("wb") as half:
            files.copy(iter(cut), half, counts.append)
        assert not (tmp_path / "half").read_bytes().endswith(b"\n")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["audit.ndjson", "half"]
    with pytest.raises(ConfigurationError, match="No such file"):
        files.save(iter(lines), tmp_path / "no" / "where", counts.append)
    many = [lines[0], *[lines[1]] * 1001, lines[-1]]
    assert files.copy(iter(many), io.BytesIO(), counts.append) == 1001
    assert counts[-1] == 1000


# How it looks


def test_control_characters_of_a_record_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "id": "evt_1",
        "tenant": "t",
        "kind": "approval",
        "seq": 7,
        "at": 10**18,
        "act": "deny",
        "command": "/a\x1b[2J",
        "resource": {"provider": "x", "path": "a\u202eb" + "y" * 200},
        "detail": {"reason": "\x07\x9b1m"},
    }
    text = view.line(row).plain
    assert str(10**18) in text
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert "..." in text


def test_a_tree_fits_the_width_of_the_terminal() -> None:
    rows = [
        {"id": "evt_1", "tenant": "t", "kind": "decision", "seq": 1, "at": 0, "decision": "allow"},
        {"id": "evt_2", "tenant": "t", "kind": "call", "seq": 2, "at": 0, "parent": "evt_1"}
        | {"detail": {"why": "word " * 30}},
    ]
    console = Console(record=True, width=60, force_terminal=True, file=io.StringIO())
    view.trees(rows, console, marked=None)
    lines = console.export_text().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 60


def test_warnings_and_later_rows_are_shown(export: Export) -> None:
    console = Console(record=True, width=200)
    report = export.verify(export.lines, pin=export.pin)
    view.report(report, console)
    assert "agrees; 3 rows follow it" in console.export_text()
    view.report(replace(report, warnings=("clocks disagree",)), console)
    assert "warning: clocks disagree" in console.export_text()
