"""One word per idea: what `docs/glossary.md` rules out names no module, class or function."""

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


def words_of(name: str) -> set[str]:
    """Return the words of `snake_case` and `CamelCase`, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def names(tree: ast.Module) -> Iterator[str]:
    """Yield the classes and functions that a module defines at its top."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def test_the_table_is_read() -> None:
    assert {"whoever", "beneath", "handed on"} <= set(WORDS)
    assert words_of("_toldBy_HTTPServer") == {"told", "by", "http", "server"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_class_or_function_has_a_word_that_is_ruled_out(path: Path) -> None:
    named = {path.stem, *names(ast.parse(path.read_text("utf-8")))}
    assert {name for name in named if words_of(name) & set(WORDS)} == set()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_has_no_two_classes_of_one_name(layer: str) -> None:
    found = defaultdict(list)
    for path in sorted((PACKAGE / layer).rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path.name)
    assert {name: where for name, where in found.items() if len(where) > 1} == {}
