"""How many requests to the binary each operation makes, as `tools/count_round_trips.py` counts."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

TOOL = Path(__file__).parents[1] / "tools" / "count_round_trips.py"

MADE = {
    "Verifier.verify": {"Verify": 1},
    "authorize": {"Delegate": 1, "Invoke": 1},
    "grant.headers": {"Invoke": 1},
    "fork_child": {"Fork": 1},
    "PDP GET, chain of 1": {"Verify": 1},
    "PDP PUT, chain of 1": {"Verify": 2},
    "authorize by a chain": {"Delegate": 1, "Invoke": 2, "Verify": 2},
    "guard.headers by a chain": {"Invoke": 1},
    "grant.headers by a chain": {"Invoke": 1},
    "PDP GET, chain of 2": {"Verify": 1},
}


def counted() -> dict[str, Counter[str]]:
    spec = importlib.util.spec_from_file_location("count_round_trips", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    made: dict[str, Counter[str]] = tool.count()
    return made


def test_no_operation_asks_the_binary_more_often_than_it_has_to() -> None:
    assert counted() == MADE
