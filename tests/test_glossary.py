"""Words that `docs/glossary.md` excludes are in no name, docstring, message or page."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

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

PAGES: Final = sorted((PACKAGE / "server" / "pages" / "templates").glob("*.html"))
"""The templates of the approval pages."""

SIGNER: Final = sorted((ROOT / "ucan-bin" / "src").rglob("*.ts"))
"""The sources of the signing binary: comments, names and messages."""

DOCS: Final = sorted((ROOT / "docs").rglob("*.md"))
"""The pages of the documentation, and the records of decisions in `docs/adr`."""

TESTS: Final = sorted((ROOT / "tests").rglob("*.py"))
"""The modules of the tests."""

RIDDLE: Final = re.compile(r"test_(?:what(?:ever)?|who|whose|where|how)_")
"""The beginning of a test's name that names no subject."""

ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "server/storage/tables.py": frozenset(("deed",)),  # a column, named so by a migration
}
"""By module: sentences of a docstring or message in which such a word is the right one."""


def ruled_out() -> list[str]:
    """Return the words of the page's last table."""
    table = (ROOT / "docs" / "glossary.md").read_text("utf-8").split("| not | say |", 1)[1]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ")]
    return [word.strip() for cell in cells for word in cell.split(",")]


WORDS = ruled_out()
RULED_OUT: Final = re.compile(rf"\b(?:{'|'.join(map(re.escape, WORDS))})\b", re.IGNORECASE)


def words_of(name: str) -> set[str]:
    """Return the words of `snake_case` and `CamelCase`, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def names(tree: ast.Module) -> Iterator[str]:
    """Yield the classes and functions that a module defines at its top."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def prose(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the docstrings and string constants of a module, parts of f-strings too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a module, of its classes, functions and constants."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text


def parsed_tests() -> Iterator[tuple[Path, ast.Module]]:
    """Yield the modules of the tests."""
    for path in TESTS:
        yield path, ast.parse(path.read_text("utf-8"))


def names_of_tests(tree: ast.Module) -> Iterator[str]:
    """Yield the names of the tests that a module defines, those of classes too."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_"):
                    yield name


def bound_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names of variables, parameters, functions and classes that a module binds."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name


def is_clear(name: str) -> bool:
    """Whether a test's name begins with its subject and has no word that is ruled out."""
    return RIDDLE.match(name) is None and not found_in(name.replace("_", " "))


def found_in(text: str) -> set[str]:
    """Return the words that are ruled out and stand in a text as whole words, in lower case."""
    return {found.lower() for found in RULED_OUT.findall(" ".join(text.split()))}


def test_the_words_of_the_table_are_read() -> None:
    assert {"whoever", "beneath", "handed on"} <= set(WORDS)
    assert words_of("_toldBy_HTTPServer") == {"told", "by", "http", "server"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_class_or_function_has_an_excluded_word(path: Path) -> None:
    named = {path.stem, *names(ast.parse(path.read_text("utf-8")))}
    assert {name for name in named if words_of(name) & set(WORDS)} == set()


def test_a_word_is_found_only_as_a_whole_and_across_lines() -> None:
    tree = ast.parse('"""It is handed\n    on."""\nx = f"Whoever {1} stays, as a stranger"\n')
    assert [sorted(found_in(text)) for _, text in prose(tree)] == [
        ["handed on"],
        ["whoever"],
        ["stranger"],
    ]
    assert found_in("strangers wished to honourably retell what nobody's friend told") == {
        "nobody",
        "told",
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_docstring_or_message_has_an_excluded_word(path: Path) -> None:
    allowed = ALLOWED.get(str(path.relative_to(PACKAGE)), frozenset())
    tree = ast.parse(path.read_text("utf-8"))
    sentences = [(line, text) for line, text in prose(tree) if text not in allowed]
    assert [(line, found_in(text)) for line, text in sentences if found_in(text)] == []


@pytest.mark.parametrize("path", SIGNER, ids=lambda path: path.name)
def test_the_signing_binary_has_no_excluded_word(path: Path) -> None:
    assert found_in(path.read_text("utf-8")) == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_approval_page_has_an_excluded_word(path: Path) -> None:
    assert found_in(path.read_text("utf-8")) == set()


def text_of(page: str) -> str:
    """Return a page without code and without the glossary's table of such words."""
    text, *_ = page.partition("| not | say |")
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def test_code_and_the_table_are_not_searched() -> None:
    page = "nobody `told`\n```text\nwhoever\n```\nhears\n| not | say |\n|---|---|\n| wish | |"
    assert found_in(text_of(page)) == {"nobody", "hears"}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_no_page_of_the_docs_has_an_excluded_word(path: Path) -> None:
    assert found_in(text_of(path.read_text("utf-8"))) == set()


@pytest.mark.parametrize(
    "name",
    [
        "test_what_a_token_proves",
        "test_who_may_do_it",
        "test_a_caller_is_told_apart",
        "test_whoever_calls_obeys_the_rule",
        "test_a_grant_is_handed_on",
    ],
)
def test_an_unclear_test_name_is_detected(name: str) -> None:
    tree = ast.parse(f"class Tests:\n    async def {name}(self): ...\n")
    assert [is_clear(each) for each in names_of_tests(tree)] == [False]
    assert is_clear("test_a_handed_over_key_is_read_once")


def test_every_test_is_named_by_subject_and_behaviour() -> None:
    names = [(path.name, name) for path, tree in parsed_tests() for name in names_of_tests(tree)]
    assert [(file, name) for file, name in names if not is_clear(name)] == []


def test_no_docstring_of_a_test_has_an_excluded_word() -> None:
    texts = [(path.name, text) for path, tree in parsed_tests() for text in docstrings(tree)]
    assert [(file, text) for file, text in texts if found_in(text)] == []


def test_no_name_in_a_test_is_an_excluded_word() -> None:
    names = [(path.name, name) for path, tree in parsed_tests() for name in bound_names(tree)]
    assert [(file, name) for file, name in names if words_of(name) & set(WORDS)] == []


def test_names_of_every_kind_are_searched_in_tests() -> None:
    tree = ast.parse(
        "class Stranger:\n    def tells(self, giver, *told):\n        deed = giver.x\n"
    )
    assert {word for name in bound_names(tree) for word in words_of(name)} & set(WORDS) == {
        *("stranger", "tells", "giver", "told", "deed"),
    }


def test_only_docstrings_are_searched_in_tests() -> None:
    tree = ast.parse('"""A."""\nX = "nobody"\n"""Nobody."""\ndef f():\n    """Told."""\n')
    assert [text for text in docstrings(tree) if found_in(text)] == ["Nobody.", "Told."]


def test_each_searched_part_has_files() -> None:
    assert TESTS
    assert SOURCES
    assert SIGNER
    assert PAGES
    assert DOCS
    assert all((PACKAGE / name).is_file() for name in ALLOWED)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_has_no_two_classes_of_one_name(layer: str) -> None:
    found = defaultdict(list)
    for path in sorted((PACKAGE / layer).rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(path.name)
    assert {name: where for name, where in found.items() if len(where) > 1} == {}
