"""The public API as type checkers see it: correct calls pass, and each mistake is reported."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nomos import (
    AsyncAuthGuard,
    AsyncGrant,
    AsyncReceipt,
    AsyncVerifier,
    AuthGuard,
    Child,
    Grant,
    Receipt,
    Verifier,
)

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "typing_tests"
MARKED = re.compile(r"  # type: ignore\[([a-z-]+)\]$", re.MULTILINE)


def mypy(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_each_mistake_is_reported_with_its_code(tmp_path: Path) -> None:
    text = (FOLDER / "mistakes.py").read_text("utf-8")
    expected = {
        (number, found[1])
        for number, line in enumerate(text.splitlines(), 1)
        if (found := MARKED.search(line))
    }
    unmarked = tmp_path / "mistakes.py"
    unmarked.write_text(MARKED.sub("", text), "utf-8")

    done = mypy(unmarked)

    reported = re.findall(r"mistakes\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    assert len(expected) > 20
    assert {(int(number), code) for number, code in reported} == expected, done.stdout


@pytest.mark.parametrize(
    "kind",
    [
        AuthGuard,
        AsyncAuthGuard,
        Grant,
        AsyncGrant,
        Receipt,
        AsyncReceipt,
        Verifier,
        AsyncVerifier,
        Child,
    ],
)
def test_every_public_method_is_called(kind: type) -> None:
    text = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.py"))
    names = {
        name
        for name, member in inspect.getmembers(kind, inspect.isroutine)
        if not name.startswith("_")
    }
    assert names
    assert {name for name in names if f".{name}(" not in text} == set()
