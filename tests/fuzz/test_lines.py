"""A few seconds of the fuzzer, always the same ones; and that what judges the answers can judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzz.believed import CHECKS, RECEIPT, Untrue, canonical, check
from fuzz.lines import Campaign
from fuzz.mutate import all_attacks, known
from fuzz.process import Process, Silent
from long_runs import times
from ucan_loop import Loop
from vectors import forge

SEED = 20261121
LINES = times(8_000, short=2_000)


def test_the_binary_answers_whatever_it_is_sent(binary: Path) -> None:
    report = Campaign(binary, SEED).run(lines=LINES)

    assert report.found == []
    assert report.lines >= LINES
    assert report.believed > LINES // 80
    assert len(report.codes) > 15


def test_every_known_yes_is_borne_out_and_no_attack_is(loop: Loop) -> None:
    """The judge of the fuzzer believes what vectors say yes to, and would notice the rest."""
    for party in forge.PARTIES:
        assert loop.ask({"op": "load_key", "seed": party.seed})["ok"]
    judged = 0
    for line, row in known():
        if "answer" in row and b'"fork"' not in line:
            check(line, loop.ask(line))
            judged += 1
    assert judged > 50

    missed: list[str] = []
    table = all_attacks()[::8]
    for attack in table:
        answer = loop.ask({**attack.base.request})
        assert answer["ok"]
        request = json.dumps({"id": 1, "protocol": 1, **attack.request}).encode()
        try:
            check(request, answer)
        except Untrue:
            continue
        missed.append(attack.mutation)
    # It has no rules for sizes, the words of `pol`, or the forms of what `meta` holds.
    assert len(missed) < 0.1 * len(table)


@pytest.mark.parametrize("op", ["delegate", "sign_receipt", "sign_checkpoint", "invoke"])
def test_a_signature_of_another_is_noticed(op: str) -> None:
    request = {"op": op, "key": forge.ISSUER.did, "payload": {"iss": forge.ISSUER.did}}
    token = forge.sign(RECEIPT, {"iss": forge.ISSUER.did}, forge.PLANNER)
    with pytest.raises(Untrue):
        CHECKS[op](request, {"jwt": token, "cid": forge.cid(token)})


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
    assert canonical(value).decode() == text


def test_a_process_that_says_nothing_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fuzz.process.PATIENCE", 0.2)
    program = tmp_path / "silent"
    program.write_text("#!/bin/sh\nexec /bin/sleep 9\n")
    program.chmod(0o700)
    process = Process(program)
    with pytest.raises(Silent, match="no answer in time"):
        process.exchange([b"a line\n"], b"an answer")
    assert process.end() != 0
