"""A short, deterministic run of the fuzzer, and its model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from fuzz.lines import Campaign
from fuzz.mutate import all_attacks, known
from fuzz.process import Process, Silent
from long_runs import times
from model.canonical import canon
from model.judge import WrongAnswer, judge
from ucan_loop import Loop
from vectors import forge
from vectors.forge import RECEIPT, receipt_payload

SEED = 20261121
LINES = times(8_000, short=2_000)


def test_the_binary_answers_every_input(binary: Path) -> None:
    report = Campaign(binary, SEED).run(lines=LINES)

    assert report.found == []
    assert report.lines >= LINES
    assert report.accepted > LINES // 80
    assert len(report.codes) > 15


@pytest.fixture
def keyed(loop: Loop) -> Loop:
    for party in forge.PARTIES:
        assert loop.ask({"op": "load_key", "seed": party.seed})["ok"]
    return loop


def test_the_model_agrees_with_every_known_answer(keyed: Loop) -> None:
    rows = known()
    for line, _ in rows:
        answer = keyed.ask(line)
        children = answer.get("children", [])
        while answer.get("more"):
            answer = keyed.answer()
            children += answer["children"]
        judge(line, {**answer, "children": children} if children else answer)
    assert len(rows) > 3_000


def test_the_model_detects_every_accepted_attack(loop: Loop) -> None:
    missed: list[str] = []
    accepted = {attack.base.name: loop.ask(attack.base.request) for attack in all_attacks()}
    for attack in all_attacks():
        request = json.dumps({"id": 1, "protocol": 1, **attack.request}).encode()
        assert accepted[attack.base.name]["ok"]
        try:
            judge(request, accepted[attack.base.name])
        except WrongAnswer:
            continue
        missed.append(attack.mutation)
    assert missed == []


LENIENT = """#!{python}
import subprocess, sys
real = subprocess.Popen([{binary!r}, "serve"], stdin=subprocess.PIPE)
for line in sys.stdin.buffer:
    real.stdin.write(line.replace({old!r}, {new!r}))
    real.stdin.flush()
real.stdin.close()
sys.exit(real.wait())
"""


def test_a_binary_that_accepts_too_much_is_detected(binary: Path, tmp_path: Path) -> None:
    """It reads the first name of each list of revocations as another one."""
    old, new = b'"revoked": ["', b'"revoked": ["x'
    program = tmp_path / "lenient"
    program.write_text(LENIENT.format(python=sys.executable, binary=str(binary), old=old, new=new))
    program.chmod(0o700)

    report = Campaign(program, SEED).run(lines=4_000)

    refused = "the model answers {'ok': False, 'code': 'revoked'"
    assert [what for what, _ in report.found if what.startswith(refused)]


PAYLOADS = {
    "delegation": ("delegate", forge.DELEGATION, forge.delegation(forge.ISSUER, forge.PLANNER)),
    "invocation": ("invoke", forge.INVOCATION, forge.invocation(forge.ISSUER, [])),
    "checkpoint": (
        "sign_checkpoint",
        forge.CHECKPOINT,
        forge.checkpoint_payload(forge.ISSUER),
    ),
    "receipt": ("sign_receipt", RECEIPT, receipt_payload(iss=forge.ISSUER.did)),
}


@pytest.mark.parametrize("kind", ["delegation", "receipt", "checkpoint", "invocation"])
def test_a_signature_by_another_key_is_detected(kind: str) -> None:
    op, header, claims = PAYLOADS[kind]
    request = {"id": 1, "protocol": 1, "op": op, "key": forge.ISSUER.did, "payload": claims}
    more = {"allow_vacuous": False} if kind == "delegation" else {}
    line = json.dumps(request | more).encode()

    def answer(by: forge.Party) -> dict[str, object]:
        token = forge.sign(header, claims, by)
        return {"id": 1, "ok": True, "jwt": token, "cid": forge.cid(token)}

    judge(line, answer(forge.ISSUER))
    with pytest.raises(WrongAnswer, match=f"a {kind} of another key"):
        judge(line, answer(forge.PLANNER))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e21, "1e+21"),
        (1.5e-7, "1.5e-7"),
        (1e-6, "0.000001"),
        (123456789.125, "123456789.125"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (-0.0, "0"),
        (1e20, "100000000000000000000"),
        (-2.5, "-2.5"),
        ({"\ufb33": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ufb33":1}'),
    ],
)
def test_numbers_and_names_are_written_as_in_rfc_8785(value: object, text: str) -> None:
    assert canon(value) == text


@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan"), {"\ud800": 1}])
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"double|infinity|surrogates"):
        canon(value)


def test_a_silent_process_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.process.PATIENCE", 0.2)
    program = tmp_path / "silent"
    program.write_text("#!/bin/sh\nexec /bin/sleep 9\n")
    program.chmod(0o700)
    process = Process(program)
    with pytest.raises(Silent, match="no answer in time"):
        process.exchange([b"a line\n"], b"an answer")
    assert process.end() != 0
