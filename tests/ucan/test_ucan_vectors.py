"""The compiled binary and the committed vectors, which the TypeScript tests run as well."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from ucan_loop import Loop

from nomos import _protocol

ANSWERS: dict[str, type[BaseModel]] = {
    model.model_fields["op"].default: model.answer
    for model in get_args(get_args(_protocol.AnyRequest)[0])
}
FOLDER = Path(__file__).parent.parent / "vectors"
FILES = sorted(FOLDER.glob("*.json"))
ATTACKS = sorted((FOLDER / "attacks").glob("*.json"))
PAGE = FOLDER.parent.parent / "docs" / "attacks.md"
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
def test_the_binary_answers_as_each_case_expects(
    shared: Loop, seeds: list[str], case: dict[str, Any]
) -> None:
    for seed in seeds:
        assert shared.ask({"op": "load_key", "seed": seed})["ok"]

    line = bytes.fromhex(case["hex"]) if "hex" in case else case["line"]
    answer = shared.ask(line)

    model = ANSWERS[json.loads(line)["op"]] if "answer" in case else _protocol.Refused
    model.model_validate(answer)
    assert answer.pop("id") == case.get("id", 1)
    if "answer" in case:
        assert answer == {"ok": True, **case["answer"]}
    else:
        assert answer["message"]
        refusal = {name: answer.pop(name) for name in ("code", "hop") if name in answer}
        assert (answer.pop("ok"), refusal) == (False, case["refused"])
        assert answer == case.get("says", answer)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_every_attack_is_refused_and_its_origin_is_accepted(
    binary: Path, path: Path, *, backwards: bool
) -> None:
    """In reverse, the attacks come first, to a process that has not verified any token yet."""
    table = json.loads(path.read_text())
    rows = [*table["accepted"], *table["refused"]]
    started = Loop(binary)

    wrong = []
    for row in reversed(rows) if backwards else rows:
        answer = started.ask(question(table, row))
        if result_of(answer, row) != row.get("answer", row.get("refused")):
            wrong.append((naming(row), answer))

    assert not wrong
    assert started.end() == 0


@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_every_attack_changes_its_origin(path: Path) -> None:
    table = json.loads(path.read_text())
    assert len(set(table["tokens"])) == len(table["tokens"])
    bases = {row["name"]: question(table, row) for row in table["accepted"]}
    assert len(bases) == len(table["accepted"])
    for row in table["refused"]:
        # As text: to Python, 1 is true.
        assert json.dumps(question(table, row)) != json.dumps(bases[row["of"]]), naming(row)


def question(table: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """What a row asks: rows leave out what every request says, and name tokens by number."""
    ask = {**({} if "op" in row["ask"] else table["request"]), **row["ask"]}
    tokens = table["tokens"]
    for name in {"invocation", "token"} & set(ask):
        ask[name] = tokens[ask[name]]
    if "chain" in ask:
        ask["chain"] = [tokens[number] for number in ask["chain"]]
    return ask


def result_of(answer: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The code and hop of a refusal, and of a yes what the row speaks of."""
    if "answer" in row and answer["ok"]:
        return {name: answer[name] for name in row["answer"]}
    if answer["ok"]:
        return {"ok": True}
    _protocol.Refused.model_validate(answer)
    return {name: answer[name] for name in ("code", "hop") if name in answer}


def naming(row: dict[str, Any]) -> str:
    return row["name"] if "name" in row else f"{row['mutation']}, at {row['where']} of {row['of']}"


def test_the_attack_table_is_long() -> None:
    tables = [json.loads(path.read_text()) for path in ATTACKS]
    rows = [
        (path.stem, row)
        for path, table in zip(ATTACKS, tables, strict=True)
        for row in table["refused"]
    ]
    assert len(rows) >= 1500
    assert len({(group, row["mutation"]) for group, row in rows}) >= 60
    assert sum(len(table["accepted"]) for table in tables) >= 100


@pytest.mark.parametrize("length", [1, 2, 3, 8])
def test_tokens_are_forged_at_every_hop(length: int) -> None:
    forged = {
        (row["of"].removeprefix("rich "), row["where"])
        for group in ("text", "json", "header", "signatures")
        for row in json.loads((FOLDER / "attacks" / f"{group}.json").read_text())["refused"]
    }
    hops = {f"hop {hop}" for hop in range(length)}
    assert hops <= {where for of, where in forged if of == f"chain of {length}"}
    assert {where for of, where in forged if of == f"use of {length}"} >= {"the invocation"}


def test_the_committed_cases_are_up_to_date() -> None:
    run = subprocess.run(
        [sys.executable, FOLDER / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_the_page_has_the_counts_of_the_program() -> None:
    run = subprocess.run(
        [sys.executable, FOLDER / "generate.py", "--count"],
        capture_output=True,
        text=True,
        check=True,
    )
    counted = [tuple(line.split()) for line in run.stdout.splitlines()[1:]]
    section = PAGE.read_text()
    lines = re.findall(
        r"^\| (?:`|\*\*)(\w+)(?:`|\*\*) \|.*\| ([\d,]+) \| ([\d,]+) \|$", section, re.MULTILINE
    )
    assert lines == counted
    assert "tests/vectors/generate.py --count" in section


def test_the_protocol_of_the_binary_is_that_of_the_models(shared: Loop) -> None:
    tool = FOLDER.parent.parent / "tools" / "generate_protocol.py"
    run = subprocess.run(
        [sys.executable, tool, "--check"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert set(shared.ask({"op": "hello"})["ops"]) == set(ANSWERS)
