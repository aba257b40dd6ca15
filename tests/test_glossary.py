"""One word per idea: what `docs/glossary.md` rules out is in no name and no text for people."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nomos"
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if "migrations" not in path.parts]
TEMPLATES = sorted(PACKAGE.rglob("*.html"))
LAYERS: tuple[str, ...] = (
    "_core",
    "_io",
    "_pol",
    "audit",
    "policy",
    "cli",
    "integrations",
    "server/control",
)
LAYERS += ("server/pdp", "server/storage", "server/pages", "server/connections")


def ruled_out() -> list[str]:
    """Return the words of the page's last table."""
    table = (ROOT / "docs" / "glossary.md").read_text("utf-8").split("| not | say |", 1)[1]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    return [word.strip() for cell in cells for word in cell.split(",")]


WORDS = ruled_out()
IN_TEXT = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)


def words_of(name: str) -> set[str]:
    """Return the words of `snake_case` and `CamelCase`, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def names(tree: ast.Module) -> Iterator[str]:
    """Yield what a module defines: classes, functions, parameters, variables, attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the strings with more than one word that are no docstrings of private code."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    comments = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in docstrings | comments:
            continue
        if isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def test_the_table_is_read() -> None:
    assert {"whoever", "beneath", "handed on"} <= set(WORDS)
    assert IN_TEXT.search("a token Nobody takes")
    assert words_of("_toldBy_HTTPServer") == {"told", "by", "http", "server"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_name_and_no_text_has_a_word_that_is_ruled_out(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    named = {name for name in {path.stem, *names(tree)} if words_of(name) & set(WORDS)}
    assert named == set()
    assert [(line, text) for line, text in texts(tree) if IN_TEXT.search(text)] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_page_has_a_word_that_is_ruled_out(path: Path) -> None:
    assert IN_TEXT.findall(path.read_text("utf-8")) == []


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_has_no_two_classes_of_one_name(layer: str) -> None:
    found = defaultdict(list)
    for path in sorted((PACKAGE / layer).rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path.name)
    assert {name: where for name, where in found.items() if len(where) > 1} == {}
