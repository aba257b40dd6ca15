"""Every refusal has a sentence that says what would help."""

from __future__ import annotations

from typing import get_args

import pytest

from nomos import Denied, StepUpRequired
from nomos._core.approved import wrong_approval
from nomos._core.claimed import MAX_IDS, ids, mapping, strings
from nomos._core.fixes import BY_FIELD, FIXES, UNAVAILABLE, fix
from nomos._core.telling import CHECKS
from nomos.models import DenyReason, VerificationCode

REASONS = {code for part in get_args(DenyReason) for code in get_args(part)}


def test_every_reason_has_a_fix_and_nothing_else_has() -> None:
    assert FIXES.keys() == REASONS | {UNAVAILABLE}
    assert {code for code, _ in BY_FIELD} <= FIXES.keys()
    assert set(get_args(VerificationCode)) <= CHECKS.keys() <= REASONS


@pytest.mark.parametrize("sentence", [*FIXES.values(), *BY_FIELD.values()])
def test_a_fix_is_the_rest_of_a_sentence(sentence: str) -> None:
    assert 10 < len(sentence) < 180
    assert sentence[0].islower()
    assert not sentence.endswith(".")


def test_the_field_says_more_than_the_code() -> None:
    code = "chain_attenuation_violation"
    assert len({fix(code), fix(code, "cmd"), fix(code, "exp"), fix(code, "nbf")}) == 4
    assert fix(code, "cmd of something") == fix(code) == fix(code, None)
    assert fix("resource_out_of_scope", "pol[0][1]") != fix("resource_out_of_scope")
    assert fix("resource_mismatch", "args.a\nb") == fix("resource_mismatch", "args.state")
    assert fix("resource_mismatch", "args.resource") != fix("resource_mismatch", "args.state")
    assert fix("somebody else's") is None


def test_a_refusal_says_what_where_and_what_would_help() -> None:
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
    found = ids((call, root), ["c1", "c2"], root)
    assert found == {
        *("c1", "c2", "issuer", "one", "here"),
        *("app_1", "app_0", "env_1", "first", "second"),
    }
    assert ids(({"iss": 1, "aud": None},), [], {"meta": {"lineage": []}}) == set()
    assert (mapping([]), strings("abc")) == ({}, set())
    assert MAX_IDS > 32 * 2 + 64


def test_no_approval_is_no_trouble() -> None:
    assert wrong_approval({}, {}, "here") is None
