"""The table of layers in `ARCHITECTURE.md` agrees with the imports of the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [("top", ["server", "cli"]), ("bottom", ["errors", "models"])]
FITTING = {"cli": {"server", "errors"}, "server": {"models"}, "errors": set(), "models": set()}


@pytest.fixture(scope="module")
def tool() -> Any:
    path = ROOT / "tools" / "compare_picture.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_draws_what_the_code_imports(tool: Any) -> None:
    rows = tool.drawn((ROOT / "ARCHITECTURE.md").read_text("utf-8"))
    assert len(rows) == 12
    assert list(tool.differences(rows, tool.arrows())) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"models": {"server"}}, ["models imports server, of a higher row"]),
        ({"cli": {"new"}}, ["new has no row"]),
        ({"server": {"cli"}}, ["top: server imports cli imports server"]),
    ],
    ids=["fits", "upward", "unknown", "in a circle"],
)
def test_a_difference_is_detected(tool: Any, changes: dict[str, set[str]], said: list[str]) -> None:
    assert list(tool.differences(ROWS, FITTING | changes)) == said


def test_a_missing_or_repeated_part_is_detected(tool: Any) -> None:
    rows = [*ROWS, ("third", ["cli", "gone"])]
    said = list(tool.differences(rows, FITTING))
    assert "gone is not in the code" in said
    assert "cli has two rows" in said
