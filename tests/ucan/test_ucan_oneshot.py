"""The one-shot subcommands as a person or a script calls them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nomos._protocol import MAX_LINE

SEED = "00" * 31 + "01"
DID = "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"
NOW = 1_700_000_000
PAYLOAD = {
    "iss": DID,
    "aud": "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf",
    "cmd": "/github/issue",
    "pol": [],
    "nonce": "n-1",
    "nbf": NOW,
    "exp": NOW + 300,
}


class Call:
    def __init__(self, binary: Path, *args: str, text: str = "") -> None:
        run = subprocess.run(
            [binary, *args], input=text, capture_output=True, text=True, check=False, timeout=20
        )
        self.status, self.stdout, self.stderr = run.returncode, run.stdout, run.stderr

    @property
    def answer(self) -> dict[str, Any]:
        assert self.stderr == ""
        answer: dict[str, Any] = json.loads(self.stdout)
        return answer


def call(binary: Path, command: str, document: object) -> Call:
    return Call(binary, command, text=json.dumps(document))


def test_a_minted_token_validates_and_parses(binary: Path) -> None:
    minted = call(binary, "mint", {"payload": PAYLOAD, "seed": SEED})
    assert minted.status == 0
    assert list(minted.answer) == ["jwt", "cid"]

    question = {"chain": [minted.answer["jwt"]], "now": NOW, "trusted_issuers": [DID]}
    valid = call(binary, "validate", question)
    assert valid.status == 0
    assert valid.answer == {
        "ok": True,
        "agent": PAYLOAD["aud"],
        "root": DID,
        "cmd": "/github/issue",
        "depth": 1,
        "cids": [minted.answer["cid"]],
        "lineage": [],
        "expires_at": NOW + 300,
    }

    parsed = call(binary, "parse", {"jwt": minted.answer["jwt"]})
    assert parsed.status == 0
    assert parsed.answer["payload"] == PAYLOAD


def test_validate_without_a_time_uses_the_clock(binary: Path) -> None:
    minted = call(binary, "mint", {"payload": PAYLOAD, "seed": SEED})
    refused = call(binary, "validate", {"chain": [minted.answer["jwt"]]})
    assert refused.status == 1
    assert refused.answer["code"] == "expired"


def test_a_refusal_is_on_stdout_with_code_and_hop(binary: Path) -> None:
    refused = call(binary, "validate", {"chain": ["x"], "now": NOW})
    assert refused.status == 1
    assert refused.answer.pop("message")
    assert {"ok": False, "code": "malformed_ucan", "hop": 0}.items() <= refused.answer.items()


def test_keygen_makes_another_key_each_time(binary: Path) -> None:
    keys = [Call(binary, "keygen") for _ in range(2)]
    assert [key.status for key in keys] == [0, 0]
    assert keys[0].answer["seed"] != keys[1].answer["seed"]
    minted = call(
        binary,
        "mint",
        {"payload": {**PAYLOAD, "iss": keys[0].answer["did"]}, "seed": keys[0].answer["seed"]},
    )
    assert minted.status == 0


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"payload": PAYLOAD}, "invalid_request"),
        ({"payload": PAYLOAD, "seed": SEED[:-1]}, "invalid_request"),
        ({"payload": PAYLOAD, "seed": SEED, "key": DID}, "invalid_request"),
        ({"payload": {**PAYLOAD, "exp": NOW + 0.5}, "seed": SEED}, "invalid_request"),
        ({"payload": {**PAYLOAD, "exp": NOW}, "seed": SEED}, "malformed_ucan"),
        ({"payload": {**PAYLOAD, "pol": [["or", []]]}, "seed": SEED}, "vacuous_policy"),
        ({"payload": {**PAYLOAD, "iss": PAYLOAD["aud"]}, "seed": SEED}, "issuer_mismatch"),
        ({"payload": {**PAYLOAD, "meta": {"a": "x" * 50_000}}, "seed": SEED}, "too_large"),
    ],
)
def test_mint_refuses(binary: Path, document: object, code: str) -> None:
    refused = call(binary, "mint", document)
    assert refused.status == 1
    assert refused.answer["code"] == code
    assert SEED[:-1] not in refused.stdout


def minted(binary: Path, aud: str, seed: str = SEED) -> str:
    payload = {**PAYLOAD, "aud": aud, "nbf": NOW - 60}
    jwt: str = call(binary, "mint", {"payload": payload, "seed": seed}).answer["jwt"]
    return jwt


def test_a_forked_chain_validates_for_the_child_and_its_seed_forks_again(binary: Path) -> None:
    holder = Call(binary, "keygen").answer
    chain = [minted(binary, holder["did"])]
    seed = holder["seed"]
    for depth in (2, 3):
        links = [{"cmd": "/github/issue/list", "constraint": {"provider": "github"}}]
        document = {"seed": seed, "chains": [chain], "children": [{"links": links}], "now": NOW}
        forked = call(binary, "fork", document)
        assert forked.status == 0
        (child,) = forked.answer["children"]
        chain.append(child["links"][0]["jwt"])
        question = {"chain": chain, "now": NOW, "audience": child["aud"], "trusted_issuers": [DID]}
        valid = call(binary, "validate", question)
        assert valid.answer["depth"] == depth
        assert seed not in forked.stdout
        seed = child["seed"]


def test_fork_without_a_time_uses_the_clock(binary: Path) -> None:
    holder = Call(binary, "keygen").answer
    document = {
        "seed": holder["seed"],
        "chains": [[minted(binary, holder["did"])]],
        "children": [{"links": [{"cmd": "/github/issue"}]}],
    }
    assert call(binary, "fork", document).answer["code"] == "expired"


def test_a_refused_fork_has_the_requested_and_the_held_capability(binary: Path) -> None:
    holder = Call(binary, "keygen").answer
    document = {
        "seed": holder["seed"],
        "chains": [[minted(binary, holder["did"])]],
        "children": [{"links": [{"cmd": "/github/issue"}, {"cmd": "/github"}]}],
        "now": NOW,
    }
    refused = call(binary, "fork", document)
    assert refused.status == 1
    assert refused.answer == {
        "ok": False,
        "code": "chain_attenuation_violation",
        "message": "children[0].links[1]: cmd /github is not within /github/issue, "
        "which the chain covers",
    }
    assert holder["seed"] not in refused.stdout


@pytest.mark.parametrize("text", ["", "{", "[]", "\ufeff{}", '{"jwt":1,"jwt":2}', '{"jwt":NaN}'])
def test_input_that_is_no_json_object_is_refused(binary: Path, text: str) -> None:
    refused = Call(binary, "parse", text=text)
    assert refused.status == 1
    assert refused.answer["code"] == "invalid_request"


def test_input_is_bounded(binary: Path) -> None:
    refused = call(binary, "parse", {"jwt": "x" * MAX_LINE})
    assert refused.status == 1
    assert refused.answer["code"] == "too_large"


@pytest.mark.parametrize(
    "args",
    [[], ["fly"], ["mint", SEED], ["keygen", "--seed", SEED], ["serve", "now"], ["--version", "x"]],
)
def test_wrong_usage_prints_the_usage_and_no_argument(binary: Path, args: list[str]) -> None:
    wrong = Call(binary, *args)
    assert (wrong.status, wrong.stdout) == (2, "")
    assert "usage: nomos-ucan" in wrong.stderr
    assert SEED not in wrong.stderr


def test_version_and_help(binary: Path) -> None:
    version = Call(binary, "--version")
    assert (version.status, version.stderr) == (0, "")
    assert version.stdout.strip().count(".") == 2
    assert "usage: nomos-ucan" in Call(binary, "--help").stdout
