"""Output on streams that cannot encode every character."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from cli.token_world import CALL, CHILD, ROOT, TERMS, TOKEN, root
from prepared import INSTALLED, NOMOS

from nomos.cli.console import printable

ENCODINGS: Final = ("cp1252", "latin-1", "ascii")
WRONG: Final = root(exp=1)
POLICY: Final = '@reason("“naïve” → 日本")\nforbid (principal, action, resource);'

SHOWN: Final = {
    "inspect": (("token", "inspect"), TOKEN, 0, "ok every signature is valid"),
    "inspect of a broken link": (("token", "inspect"), json.dumps([WRONG, CHILD]), 1, "x "),
    "verify": (
        ("token", "verify", *TERMS, *CALL),
        TOKEN,
        0,
        "ok verified  the invocation is valid",
    ),
    "verify of a refusal": (("token", "verify", *TERMS), ROOT, 1, "x denied  audience_mismatch"),
    "why": (("token", "why", *TERMS, *CALL), TOKEN, 0, "The token is valid for this call."),
}


def written(
    encoding: str,
    *args: str,
    stdin: str = "",
    command: str | os.PathLike[str] = NOMOS,
) -> tuple[int, str]:
    """Run `nomos` as a real process; its exit status, and all that it wrote in that encoding."""
    done = subprocess.run(
        [command, *args],
        input=stdin.encode(),
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "100"},
    )
    return done.returncode, (done.stdout + done.stderr).decode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", SHOWN)
def test_a_decision_is_the_same_in_every_encoding(name: str, encoding: str) -> None:
    args, stdin, status, part = SHOWN[name]
    code, text = written(encoding, *args, stdin=stdin)
    assert code == status, text
    assert part in text
    assert "Error" not in text


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("token", "verify", "--help"),
        ("revoke", "--help"),
        ("approvals", "approve", "--help"),
        ("doctor",),
        ("token", "verify", *TERMS, "--revoked", "…"),
    ],
    ids=" ".join,
)
def test_every_command_prints_in_ascii(args: tuple[str, ...]) -> None:
    code, text = written("ascii", *args, stdin=TOKEN, command=INSTALLED)
    assert code == (2 if "--revoked" in args else 0), text
    assert "Traceback" not in text
    assert text.strip()


def test_text_of_a_policy_is_escaped_in_ascii(tmp_path: Path) -> None:
    file = tmp_path / "policy.cedar"
    file.write_text(POLICY, encoding="utf-8")
    question = ("--command", "/filesystem/file/read", "--resource", '{"path": "ä"}')
    code, text = written("ascii", "policy", "explain", "--policies", str(file), *question)
    assert "Traceback" not in text
    assert '"na\\u00efve" -> \\u65e5\\u672c' in text, (code, text)
    code, listed = written("ascii", "policy", "validate", str(file))
    assert (code, "Traceback" in listed) == (0, False), listed


@pytest.mark.parametrize(
    ("encoding", "text", "plain"),
    [
        ("ascii", "✓ ✗ ● … → “a” ·", 'ok x * ... -> "a" -'),
        ("ascii", "│ ├─ ╰━ ┆", "| +- +- |"),
        ("ascii", "⠋ é 日 😀", "* \\u00e9 \\u65e5 \\U0001f600"),
        ("cp1252", "✓ … é", "ok … é"),
        ("utf-8", "✓ \udcff", "✓ \\udcff"),
    ],
)
def test_marks_have_plain_replacements(
    encoding: str, text: str, plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    printable()
    stream.write(text)
    stream.seek(0)
    assert stream.read() == plain


def test_streams_that_are_no_files_are_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    printable()
    stream.write("✓ …")
    assert (stream.getvalue(), sys.stderr) == ("✓ …", None)
