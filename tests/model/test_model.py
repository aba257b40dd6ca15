"""The model agrees with the binary, with the committed vectors and the published ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from long_runs import times
from model.agree import play
from model.judge import opinion, result_of
from model.pol import holds, is_statement, resolve, selector
from vectors.attack_base import PEOPLE
from vectors.catalogue import FORGERIES, forged
from vectors.forge import DELEGATION, INVOCATION, delegation, invocation
from vectors.making import Making

from nomos.models import VerificationCode

Json = dict[str, Any]

JUDGMENTS: Final = times(20_000, short=4_000)
EACH: Final = JUDGMENTS // 200
"""Of each verdict; a generator that seldom reaches one would not notice a wrong one."""

EARLY: Final = ("malformed_ucan", "chain_too_deep", "bad_signature", "expired", "not_yet_valid")
OUTCOMES: Final = {"accepted", *get_args(VerificationCode)}

OURS: Final = Path(__file__).parent.parent / "vectors"
DEFAULTS: Final = {
    "leeway": 0,
    "max_depth": 8,
    "revoked": [],
    "revocations_max_age": 5,
    "allow_missing_prf": False,
}


def test_the_binary_and_the_model_agree(binary: Path) -> None:
    tally = play(binary, JUDGMENTS, seed=1)

    assert not tally.differences, tally.differences[0]
    assert tally.judged >= JUDGMENTS
    assert set(tally.codes) == OUTCOMES
    assert not {code: times for code, times in tally.codes.items() if times < EACH}
    early = sum(tally.codes[code] for code in EARLY)
    assert early <= tally.judged / 2


@pytest.mark.parametrize("group", FORGERIES)
def test_every_forgery_of_the_catalogue_makes_another_token(group: str) -> None:
    link = Making(DELEGATION, {**delegation(PEOPLE[0], PEOPLE[1]), "prf": []}, PEOPLE[0])
    use = Making(INVOCATION, invocation(PEOPLE[0], [link.token]), PEOPLE[0])
    idle = [
        name
        for name, forge in FORGERIES[group].items()
        if forged(forge, link) == link.token and forged(forge, use) == use.token
    ]
    assert not idle
    assert len(FORGERIES[group]) > 70


def test_the_model_agrees_with_the_cases() -> None:
    wrong = []
    judged = 0
    for path in sorted(OURS.glob("*.json")):
        for case in json.loads(path.read_text())["cases"]:
            request = verification(case.get("line", ""))
            refused = case.get("refused", {})
            if request is None or refused.get("code", "accepted") not in OUTCOMES:
                continue
            answer = result_of(opinion(request))
            wanted = {"ok": False, **refused} if refused else {"ok": True, **case["answer"]}
            judged += 1
            if answer != wanted:
                wrong.append((case["name"], answer))

    assert not wrong
    assert judged >= 20


def verification(line: str) -> Json | None:
    """Return a request to verify, if this is one."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    asks = isinstance(request, dict) and request.get("op") == "verify"
    return {**DEFAULTS, **request} if asks else None


def attacks() -> Iterator[tuple[str, Json, Json]]:
    """The attack table: a name, a request, and the row that says what must come back."""
    for path in sorted((OURS / "attacks").glob("*.json")):
        table = json.loads(path.read_text())
        tokens = table["tokens"]
        for row in [*table["accepted"], *table["refused"]]:
            ask = {**DEFAULTS, **table["request"], **row["ask"]}
            if ask["op"] != "verify":
                continue
            if "invocation" in ask:
                ask["invocation"] = tokens[ask["invocation"]]
            if "chain" in ask:
                ask["chain"] = [tokens[number] for number in ask["chain"]]
            yield f"{path.stem}: {row.get('name', row.get('mutation'))}", ask, row


def test_the_model_refuses_the_attacks_as_listed() -> None:
    wrong = []
    judged = 0
    for name, request, row in attacks():
        refused = row.get("refused", {})
        if refused.get("code", "accepted") not in OUTCOMES:
            continue
        answer = opinion(request)
        said = {key: answer.get(key) for key in ("ok", *refused, *row.get("answer", {}))}
        judged += 1
        if said != {"ok": not refused, **refused, **row.get("answer", {})}:
            wrong.append((name, said))

    assert not wrong
    assert judged >= 1000


@pytest.fixture(scope="module")
def published() -> Path:
    """The published vectors of UCAN 1.0, kept outside this repository."""
    folder = os.environ.get("NOMOS_VECTORS")
    if not folder:
        pytest.skip("NOMOS_VECTORS does not name a folder of published test vectors")
    return Path(folder) / "ucan-1.0"


def test_policies_are_evaluated_as_published(published: Path) -> None:
    cases = json.loads((published / "policy.fixed.json").read_text())
    results = [
        (valid, policy, is_statement(["and", policy]) and holds(["and", policy], group["args"]))
        for valid in ("valid", "invalid")
        for group in cases[valid]
        for policy in group["policies"]
    ]
    assert len(results) == 25
    assert not [row for row in results if row[2] != (row[0] == "valid")]


def test_selectors_select_as_published(published: Path) -> None:
    cases = json.loads((published / "selector_supported.json").read_text())
    for case in [*cases["pass"], *cases["null"]]:
        steps = selector(case["selector"])
        assert steps is not None
        assert resolve(steps, case["input"]) == case.get("output"), case
    for case in cases["fail"]:
        steps = selector(case["selector"])
        assert steps is not None
        with pytest.raises(LookupError):
            resolve(steps, case["input"])
    assert [len(cases[kind]) for kind in ("pass", "null", "fail")] == [15, 6, 7]
