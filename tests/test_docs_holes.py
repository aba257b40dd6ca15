"""`docs/holes.md` and the pages for contributors name files and tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOLES = ROOT / "docs" / "holes.md"
PAGES = [
    HOLES,
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "docs" / "releasing.md",
    ROOT / "typing_tests" / "README.md",
]
TOPS = ("nomos/", "tests/", "ucan-bin/", "tools/", "docs/", "examples/", "typing_tests/", ".ci/")
FILES = ("build_wheels.py", "pyproject.toml", "justfile", "ARCHITECTURE.md", "CHANGELOG.md")
PLACEHOLDER = re.compile(r"[*<>{}…$ ]|NAME")
BUILT = ("ucan-bin/coverage", "nomos/_bin")
"""Made by a build or a run, and so not in a fresh clone."""


def rows() -> list[list[str]]:
    lines = [line for line in HOLES.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] != "hole"]


def named(text: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def paths(text: str) -> list[str]:
    """Return the files and folders of this repository that a text names, without their tests."""
    found = [each.partition("::")[0] for each in named(text) if each.startswith(TOPS + FILES)]
    return [each for each in found if not PLACEHOLDER.search(each) and not each.startswith(BUILT)]


def named_tests(text: str) -> list[tuple[str, str]]:
    pairs = [each.partition("::")[::2] for each in named(text) if "::" in each]
    return [(path, name) for path, name in pairs if path.startswith(TOPS)]


@cache
def defined(path: str) -> str | frozenset[str]:
    """Return the names of a Python file's functions, or the text of a TypeScript one."""
    text = (ROOT / path).read_text("utf-8")
    if not path.endswith(".py"):
        return text
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.parse(text).body if isinstance(node, functions))


def is_defined(path: str, name: str) -> bool:
    titled = f'"{name}"' if path.endswith(".ts") else name
    return titled in defined(path)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_hole_names_its_fix_and_an_existing_test(row: list[str]) -> None:
    hole, wrong, closed, held = row
    assert hole
    assert wrong
    assert paths(closed), "no module is named"
    assert named_tests(held), "no test is named"
    assert [one for one in named_tests(held) if not is_defined(*one)] == []


def test_there_are_at_least_40_holes_with_unique_names() -> None:
    holes = [row[0] for row in rows()]
    assert len(holes) >= 40
    assert len(set(holes)) == len(holes)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_test_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [path for path in paths(text) if not (ROOT / path).exists()] == []
    assert [one for one in named_tests(text) if not is_defined(*one)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    "text",
    ["`nomos/gone.py`", "`tests/test_docs_holes.py::test_gone`", "`ucan-bin/test/jwt.test.ts::no`"],
)
def test_a_missing_file_or_test_is_detected(text: str) -> None:
    missing = any(not (ROOT / path).exists() for path in paths(text))
    assert missing or not all(is_defined(*one) for one in named_tests(text))
