"""The compiled binary and our own vectors: the cases that the TypeScript tests run as well."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from ucan_loop import Loop

from nomos import _wire

ANSWERS: dict[str, type[BaseModel]] = {
    model.model_fields["op"].default: model.answer
    for model in get_args(get_args(_wire.AnyRequest)[0])
}
FOLDER = Path(__file__).parent.parent / "vectors"
FILES = sorted(FOLDER.glob("*.json"))
CASES = [
    pytest.param(document["seeds"], case, id=f"{path.stem}: {case['name']}")
    for path in FILES
    for document in [json.loads(path.read_text())]
    for case in document["cases"]
]


@pytest.fixture(scope="module")
def shared(binary: Path) -> Iterator[Loop]:
    """One process for all cases; no case leaves anything behind but loaded keys."""
    started = Loop(binary)
    yield started
    assert started.end() == 0


@pytest.mark.parametrize(("seeds", "case"), CASES)
def test_the_binary_answers_as_the_case_says(
    shared: Loop, seeds: list[str], case: dict[str, Any]
) -> None:
    for seed in seeds:
        assert shared.ask({"op": "load_key", "seed": seed})["ok"]

    line = bytes.fromhex(case["hex"]) if "hex" in case else case["line"]
    answer = shared.ask(line)

    model = ANSWERS[json.loads(line)["op"]] if "answer" in case else _wire.Refused
    model.model_validate(answer)
    assert answer.pop("id") == case.get("id", 1)
    if "answer" in case:
        assert answer == {"ok": True, **case["answer"]}
    else:
        assert answer.pop("message")
        told = {name: answer[name] for name in ("code", "hop") if name in answer}
        assert (answer["ok"], told) == (False, case["refused"])


def test_the_attack_table_is_long() -> None:
    table = json.loads((FOLDER / "attacks.json").read_text())
    assert len(table["cases"]) >= 60


def test_the_cases_are_what_their_program_writes() -> None:
    run = subprocess.run(
        [sys.executable, FOLDER / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_the_protocol_of_the_binary_is_that_of_the_models(shared: Loop) -> None:
    tool = FOLDER.parent.parent / "tools" / "generate_protocol.py"
    run = subprocess.run(
        [sys.executable, tool, "--check"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert set(shared.ask({"op": "hello"})["ops"]) == set(ANSWERS)
