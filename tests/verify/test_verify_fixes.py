"""Every refusal has a fix."""

from __future__ import annotations

from typing import get_args

import pytest
from vectors.forge import ISSUER, NOW, child, root, use
from verifiers import LINKS, TOKEN, VerifierKind

from nomos import Denied, StepUpRequired
from nomos._core.approval_rule import check_approval
from nomos._core.remedies import BY_FIELD, BY_PART, FIXES, UNAVAILABLE, is_orphan, part_at, remedy
from nomos._core.token_report import CHECKS
from nomos._core.unverified import MAX_IDS, revocation_ids, strings
from nomos._json import mapping
from nomos.models import DenyReason, VerificationCode

REASONS = {code for part in get_args(DenyReason) for code in get_args(part)}


def test_every_reason_has_a_fix_and_nothing_else_has() -> None:
    assert FIXES.keys() == REASONS | {UNAVAILABLE}
    assert {code for code, _ in (*BY_FIELD, *BY_PART)} <= FIXES.keys()
    assert set(get_args(VerificationCode)) <= CHECKS.keys() <= REASONS


@pytest.mark.parametrize("sentence", [*FIXES.values(), *BY_FIELD.values(), *BY_PART.values()])
def test_a_fix_completes_a_sentence(sentence: str) -> None:
    assert 10 < len(sentence) < 180
    assert sentence[0].islower()
    assert not sentence.endswith(".")


def test_the_fix_depends_on_the_field_too() -> None:
    code = "chain_attenuation_violation"
    assert len({remedy(code), remedy(code, "cmd"), remedy(code, "exp"), remedy(code, "nbf")}) == 4
    assert remedy(code, "cmd of something") == remedy(code) == remedy(code, None)
    assert remedy("resource_out_of_scope", "pol[0][1]") != remedy("resource_out_of_scope")
    assert remedy("resource_mismatch", "args.a\nb") == remedy("resource_mismatch", "args.state")
    assert remedy("resource_mismatch", "args.resource") != remedy("resource_mismatch", "args.state")
    assert remedy("somebody else's") is None


def test_only_an_expired_call_has_the_fix_to_sign_again(verifier_kind: VerifierKind) -> None:
    first = root(exp=NOW - 1)
    again = "sign a fresh call with `grant.headers()`"
    for token, hop, fixed in (
        (use([first], exp=NOW - 2), 0, "ask for a new grant"),
        (use([root(), child(root(), exp=NOW - 1)], exp=NOW - 2), 1, "ask for a new grant"),
        (use([*LINKS], exp=NOW - 1), 2, again),
    ):
        denied = verifier_kind.denied(token)
        assert (denied.code, denied.field, denied.hop) == ("expired", "exp", hop)
        assert denied.fix == fixed


@pytest.mark.parametrize(
    ("link", "code"),
    [(LINKS[1], "untrusted_issuer"), (child(LINKS[0], sub=ISSUER.did, prf=...), "chain_invalid")],
)
def test_a_chain_without_its_root_has_its_own_message(
    verifier_kind: VerifierKind, link: str, code: str
) -> None:
    denied = verifier_kind.denied(use([link]))
    assert denied.code == code
    assert str(denied) == ("earlier links are missing (hop 0): send the whole chain, root first")


def test_a_root_is_not_reported_as_incomplete() -> None:
    assert not is_orphan({"iss": "a"})
    assert not is_orphan({"iss": "a", "sub": "a", "prf": ["x"]})
    assert not is_orphan({"iss": "a", "prf": ["x"], "meta": {"lineage": {}}})
    assert is_orphan({"iss": "a", "prf": ["x"], "meta": "lineage"})
    assert is_orphan({"iss": "a", "sub": "b"})
    lone = [{"iss": "a", "sub": "b"}]
    assert part_at("untrusted_issuer", 0, "iss", lone, used=True) == "orphan"
    assert part_at("chain_invalid", 1, "sub", lone, used=False) == "chain"
    assert part_at("chain_invalid", 0, "iss", lone, used=True) is None
    assert part_at("untrusted_issuer", 0, "iss", [], used=True) == "call"


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (
            None,
            "there is no token: use `grant.headers(command=…)`, as a grant for a prefix has no",
        ),
        (f"Bearer {TOKEN}", "this is a header's value, and not the token: leave off `Bearer `"),
        (f"bearer {TOKEN}", "this is a header's value, and not the token: leave off `Bearer `"),
        (
            f"nomos_app_{'7' * 26}_{TOKEN[:40]}",
            "this is an API key, and not a token: send what `gra",
        ),
        (f"{TOKEN}\n", "it has line breaks or spaces in it: "),
        (f"{TOKEN[:9]} {TOKEN[9:]}", "it has line breaks or spaces in it: "),
    ],
)
def test_text_sent_in_place_of_a_token_is_recognized(
    verifier_kind: VerifierKind, token: object, said: str
) -> None:
    denied = verifier_kind.denied(token)
    assert (denied.code, denied.hop) == ("malformed_ucan", None)
    assert str(denied).startswith(said)
    assert TOKEN[:40] not in str(denied)


def test_the_text_of_a_refusal_has_fault_hop_and_fix() -> None:
    assert str(Denied("it ended", code="expired")) == "it ended"
    assert str(Denied("it ended", code="expired", hop=0)) == "it ended (hop 0)"
    assert str(Denied("it ended", code="expired", fix="ask again")) == "it ended: ask again"
    whole = Denied(
        "it ended", code="expired", hop=1, field="exp", wanted="2", found="1", fix="ask again"
    )
    assert str(whole) == "it ended (hop 1): ask again"
    assert (whole.field, whole.wanted, whole.found, whole.fix) == ("exp", "2", "1", "ask again")
    assert (whole.code, whole.hop, whole.grant) == ("expired", 1, None)
    asked = StepUpRequired("ask a person", approval_envelope_id="env_1")
    assert (asked.field, asked.wanted, asked.found, asked.fix) == (None, None, None, None)


def test_ids_are_those_that_the_control_plane_revokes() -> None:
    root = {
        "iss": "issuer",
        "aud": "one",
        "meta": {
            "app_id": "app_1",
            "approval": {"id": "env_1"},
            "lineage": {"root": "first", "invokedBy": ["first", "second", 3], "apps": ["app_0"]},
        },
    }
    call = {"iss": "one", "aud": "here", "meta": {"app_id": "mine"}}
    found = revocation_ids((call, root), ["c1", "c2"], root)
    assert found == {
        *("c1", "c2", "issuer", "one", "here"),
        *("app_1", "app_0", "env_1", "first", "second"),
    }
    assert revocation_ids(({"iss": 1, "aud": None},), [], {"meta": {"lineage": []}}) == set()
    assert (mapping([]), strings("abc")) == ({}, set())
    assert MAX_IDS > 32 * 2 + 64


def test_a_token_without_an_approval_passes_the_approval_rule() -> None:
    assert check_approval({}, {}, "here") is None
