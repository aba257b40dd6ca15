"""Pure functions of decisions and tokens, called directly."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nomos._core import answer_check
from nomos.audit.record import Record
from nomos.errors import InvalidRequest
from nomos.models import MAX_ARGS_BYTES, MAX_CONTEXT_BYTES
from nomos.policy.decision import Closure, PolicyDecision
from nomos.resources import CommandSpec, Provider
from nomos.server.control import body, request
from nomos.server.control.body import sorted_json
from nomos.server.control.context import rates_of_apps
from nomos.server.control.messages import authorize_request
from nomos.server.control.request import MAX_FACTS_BYTES
from nomos.server.domain import decision, token_claims
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.authorization import CanonicalRequest, Evaluation
from nomos.server.domain.delegation import DelegationContext
from nomos.server.domain.token_claims import ApprovalStamp
from nomos.server.providers.catalog import load_catalog

DID = "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"
PROVIDER = Provider(name="demo", kind="Demo", fields={})


def asked(risk: Any = "read", args: Mapping[str, Any] | None = None) -> CanonicalRequest:
    return CanonicalRequest(
        command="/demo/do",
        provider=PROVIDER,
        spec=CommandSpec(name="/demo/do", risk=risk),
        resource={"provider": "demo"},
        args=args,
        ttl=300,
        agent=DID,
        purpose=None,
        context=None,
    )


@pytest.mark.parametrize("risk", ["write", "destructive"])
@pytest.mark.parametrize("args", [{}, {"b": 1, "a": [True]}])
def test_a_write_is_bound_to_all_its_arguments(risk: str, args: dict[str, Any]) -> None:
    expected = [["==", ".cmd", "/demo/do"], ["==", ".args", args]]
    assert token_claims.statements(asked(risk, args)) == expected


@pytest.mark.parametrize(
    ("member", "limit"),
    [("args", MAX_ARGS_BYTES), ("context", MAX_CONTEXT_BYTES), ("facts", MAX_FACTS_BYTES)],
)
@pytest.mark.parametrize("more", [-90, -80, -2, -1, 0, 1, 2])
def test_a_limit_holds_to_the_byte_when_the_size_of_the_question_is_known(
    member: str, limit: int, more: int
) -> None:
    """A member is measured only if the question as a whole could be too large for it."""
    value = {"x": "y" * (limit + more - len('{"x":""}'))}
    sent = {"command": "/filesystem/file/read", "resource": {"provider": "filesystem", "path": "a"}}
    sent |= {"context" if member == "facts" else member: value}
    message, size = authorize_request(sent), len(sorted_json(sent))
    sizes: tuple[dict[str, Any], ...] = ({}, {"size": size})
    found = list[str]()
    for known in sizes:
        try:
            request.canonicalize(message, load_catalog(), DID, "0" * 64, **known)
            found.append("")
        except InvalidRequest as wrong:
            found.append(str(wrong))
    assert found[0] == found[1]
    if member != "facts":
        assert ("is the most" in found[1] and f"{limit} " in found[1]) == (more > 0)


def test_without_bound_arguments_pol_has_the_command_only() -> None:
    for risk in ("read", "write"):
        assert token_claims.statements(asked(risk)) == [["==", ".cmd", "/demo/do"]]


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("forkable", [True, False])
def test_a_token_claims_no_more_than_was_decided(*, closed: bool, forkable: bool) -> None:
    """An open grant for a service is denied before it is signed; one signed by a mistake says so.

    A verifier that decides nothing by policy refuses a chain whose root does not say `closed`.
    """
    question = replace(asked(), service=True, audience=DID)
    key = ApiKey("app_1", "default", "agent", "0" * 64)
    at = 1_800_000_000_000
    who = (question, key, DID, DelegationContext())
    found = token_claims.delegation(
        Evaluation(*who, "req_1", None, "", at, "evt_1", Mock()),
        issuer=DID,
        audience=DID,
        receipt=Record("evt_1", "default", "decision", 1_800_000_000_000, app="app_1"),
        nonce="nonce",
        policy_decision=PolicyDecision("allow", closure=Closure(closed, forkable=forkable)),
        approval=ApprovalStamp("env_1", "0" * 64, ("lead",)),
    )
    meta = found.meta or {}
    said = {name: meta.get(name) for name in ("closed", "forkable")}
    assert said == {"closed": closed or None, "forkable": None if forkable else False}


@pytest.mark.parametrize(
    ("name", "selector"),
    [
        ("state", ".args.state"),
        ("per_page", ".args.per_page"),
        ("_x9", ".args._x9"),
        ("9x", '.args["9x"]'),
        ("a-b", '.args["a-b"]'),
        ('say "x"', '.args["say \\"x\\""]'),
        ("", '.args[""]'),
    ],
)
def test_an_argument_is_selected_by_its_name(name: str, selector: str) -> None:
    assert answer_check.selector(name) == selector


def test_tokens_do_not_begin_before_the_unix_epoch() -> None:
    made = token_claims.invocation(
        asked(), issuer=DID, agent=DID, audience=DID, chain=[], expires=310, nonce="n"
    )
    assert (made.iat, made.exp) == (0, 310)


@pytest.mark.parametrize(
    ("decided", "reason"),
    [
        (PolicyDecision("allow"), None),
        (PolicyDecision("deny", "policy_denied"), "policy_denied"),
        (PolicyDecision("deny", "policy_error"), "policy_error"),
        (PolicyDecision("deny"), "policy_denied"),
        (PolicyDecision("requires_step_up", roles=("lead",)), "step_up_required"),
        (PolicyDecision("requires_step_up"), "policy_denied"),
        (PolicyDecision("allow", "policy_error"), "policy_error"),
    ],
)
def test_only_a_plain_allow_is_an_allow(decided: PolicyDecision, reason: str | None) -> None:
    found = decision.unambiguous(decided)
    assert found.reason == reason
    assert found.decision == {None: "allow", "step_up_required": "requires_step_up"}.get(
        reason, "deny"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": [1, True, None], "a": "é"}, '{"a":"é","b":[1,true,null]}'),
        ({"a": 9.0}, '{"a":9.0}'),
        ({"\U0001f600": 1, "\uffff": 2}, '{"\uffff":2,"\U0001f600":1}'),
    ],
)
def test_the_text_that_is_hashed_for_an_idempotency_key_stays_as_it_is(
    value: object, text: str
) -> None:
    assert sorted_json(value).decode() == text


def test_an_answer_without_a_sentence_has_none() -> None:
    answer = decision.deny("evt_1", PolicyDecision("deny", "policy_denied", ("p",)))
    assert answer["explanation"] == {"policies": ["p"]}


def test_a_rate_counts_the_minute_before_and_not_the_question_itself() -> None:
    rates = rates_of_apps()
    assert [rates.count("a", now) for now in (0, 0, 30, 59, 60, 90)] == [0, 1, 2, 3, 2, 2]
    assert rates.count("b", 90) == 0


def test_a_rate_goes_on_from_what_was_counted_before() -> None:
    rates = rates_of_apps([("a", 10, 5), ("a", 20, 2), ("b", 20, 1)])
    assert rates.count("a", 70) == 2
    assert rates.count("b", 70) == 1


JSON = some.recursive(
    some.none()
    | some.booleans()
    | some.integers(-(2**53) + 1, 2**53 - 1)
    | some.floats(-(2**53) + 1, 2**53 - 1)
    | some.text(some.characters(codec="ascii")),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.text(some.characters(codec="ascii")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(some.dictionaries(some.text(some.characters(codec="ascii"), max_size=5), JSON, max_size=4))
def test_written_json_is_read_back(value: dict[str, Any]) -> None:
    assert body.parse(body.sorted_json(value)) == value


@given(some.binary(max_size=64))
def test_any_bytes_are_an_object_or_an_invalid_request(content: bytes) -> None:
    with suppress(InvalidRequest):
        assert isinstance(body.parse(content), dict)


def test_refused_requests_do_not_count_in_the_limit() -> None:
    rates = rates_of_apps()
    assert [rates.admits("app", 100, 2) for _ in range(3)] == [True, True, False]
    assert not any(rates.admits("app", 130, 2) for _ in range(50))
    assert rates.admits("app", 160, 2)
