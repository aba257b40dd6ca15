"""The rules of envelopes, without a server."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nomos.server.control.approval_view import ApprovalView, view
from nomos.server.domain import envelope
from nomos.server.domain.envelope import DENIAL_SECONDS, LIFE_SECONDS, Ballot, Envelope, Vote

NOW = 1_800_000_000
DID = "did:key:z6MkvDqGT54cXesYGvABpF1UapVNwjCqRcafi4Px6Thv5T3Z"
BOUND: dict[str, Any] = {
    "tenant": "default",
    "app": "app_1",
    "agentDid": DID,
    "command": "/github/issue/create",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
    "args": {"title": "It broke"},
    "context": {"team": "blue"},
    "ttl": 300,
    "root": None,
    "invokedBy": [],
}


def made(*roles: str, **changes: Any) -> Envelope:
    made = Envelope(
        id="env_1",
        tenant="default",
        app="app_1",
        fingerprint=envelope.fingerprint(BOUND),
        bound=BOUND,
        roles=roles or ("lead",),
        policies=("careful",),
        receipt_id="evt_1",
        created_at=NOW,
        expires_at=NOW + LIFE_SECONDS,
    )
    return replace(made, **changes)


def yes(shown: Envelope, *roles: str, operator: str = "app_2") -> Vote:
    return Vote(operator, approve=True, roles=roles, at=NOW, version=shown.version)


def test_a_fingerprint_is_the_hash_of_the_canonical_question() -> None:
    text = json.dumps(BOUND, sort_keys=True, separators=(",", ":")).encode()
    assert envelope.fingerprint(BOUND) == hashlib.sha256(text).hexdigest()


JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**53) + 1, 2**53 - 1) | some.text("abé\n"),
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(some.text("ab"), inner),
    max_leaves=5,
)
QUESTION = some.fixed_dictionaries({name: some.just(value) | JSON for name, value in BOUND.items()})


@given(QUESTION, QUESTION)
def test_questions_differ_if_and_only_if_their_fingerprints_do(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    same = envelope.fingerprint(one) == envelope.fingerprint(other)
    assert (envelope.differences(one, other) == ()) == same
    assert envelope.differences(one, other) == envelope.differences(other, one)


@pytest.mark.parametrize(
    ("name", "value", "paths"),
    [
        ("command", "/github/pr/create", ("command",)),
        ("resource", {"provider": "github", "owner": "acme"}, ("resource.repo",)),
        ("args", None, ("args",)),
        ("args", {"title": "It works", "body": "x"}, ("args.body", "args.title")),
        ("args", {}, ("args.title",)),
        ("context", {"team": True}, ("context.team",)),
        ("context", {"team": {"name": "blue"}}, ("context.team",)),
        ("ttl", 301, ("ttlSeconds",)),
        ("ttl", True, ("ttlSeconds",)),
        ("agentDid", "did:key:other", ("agentDid",)),
        ("invokedBy", [DID], ("invokedBy",)),
        ("audience", DID, ("audience",)),
    ],
)
def test_differences_are_named_by_their_paths(
    name: str, value: Any, paths: tuple[str, ...]
) -> None:
    assert envelope.differences(BOUND, BOUND | {name: value}) == paths


def test_the_number_one_differs_from_true() -> None:
    assert envelope.differences({"context": {"a": 1}}, {"context": {"a": True}}) == ("context.a",)
    assert envelope.differences({"context": {"a": 1}}, {"context": {"a": 1.0}}) == ()


@pytest.mark.parametrize(
    ("changes", "after", "state"),
    [
        ({}, 0, "pending"),
        ({}, LIFE_SECONDS - 1, "pending"),
        ({}, LIFE_SECONDS, "expired"),
        ({"state": "approved"}, LIFE_SECONDS - 1, "approved"),
        ({"state": "approved"}, LIFE_SECONDS, "expired"),
        ({"state": "denied"}, LIFE_SECONDS, "denied"),
        ({"state": "consumed"}, LIFE_SECONDS, "consumed"),
        ({"revoked": True}, 0, "denied"),
        ({"revoked": True, "state": "approved"}, 0, "denied"),
        ({"revoked": True, "state": "consumed"}, 0, "consumed"),
    ],
)
def test_the_state_depends_on_the_time(changes: dict[str, Any], after: int, state: str) -> None:
    assert made(**changes).state_at(NOW + after) == state


def test_only_an_approval_with_all_roles_required_now_is_ready() -> None:
    given = made("lead", state="approved", votes=(yes(made("lead"), "lead"),))
    assert envelope.check_approval(given, BOUND, ("lead",), NOW).use == "ready"
    missing = envelope.check_approval(given, BOUND, ("lead", "security"), NOW)
    assert (missing.use, missing.fields) == ("mismatch", ("roles",))
    other = envelope.check_approval(given, BOUND | {"ttl": 1}, ("lead",), NOW)
    assert (other.use, other.fields) == ("mismatch", ("ttlSeconds",))
    assert envelope.check_approval(given, BOUND, ("lead",), NOW + LIFE_SECONDS).use == "expired"
    used = replace(given, state="consumed")
    assert envelope.check_approval(used, BOUND, ("lead",), NOW).use == "consumed"


@pytest.mark.parametrize(
    ("covers", "roles", "covered"),
    [
        (("lead",), ("lead", "security"), ("lead",)),
        (("*",), ("lead", "security"), ("lead", "security")),
        (("LEAD",), ("lead",), ()),
        ((), ("lead",), ()),
        (("lead",), ("*",), ()),
    ],
)
def test_a_key_covers_roles(
    covers: tuple[str, ...], roles: tuple[str, ...], covered: tuple[str, ...]
) -> None:
    assert envelope.covered_roles(covers, roles) == covered


def test_approved_roles_are_those_of_the_approving_operators() -> None:
    no = Vote("app_3", approve=False, roles=("security",), at=NOW)
    asked = made("lead", "security")
    some_given = replace(asked, votes=(yes(asked, "lead", "intern"), no))
    assert some_given.approved_roles == ("lead",)
    assert some_given.missing_roles == ("security",)
    assert some_given.denial == no


def test_a_denial_holds_for_a_time() -> None:
    denied = made(state="denied", decided_at=NOW + 60)
    assert envelope.answers(denied, ("lead",), NOW + 60 + DENIAL_SECONDS - 1)
    assert not envelope.answers(denied, ("lead",), NOW + 60 + DENIAL_SECONDS)
    assert not envelope.answers(made(revoked=True), ("lead",), NOW)
    assert not envelope.answers(made(state="consumed"), ("lead",), NOW)


def test_the_last_required_role_completes_the_approval() -> None:
    asked = made("lead", "security")
    first, vote = envelope.record_vote(asked, Ballot("app_2", ("lead",), approve=True), NOW)
    assert (first.state, first.decided_at, vote.roles) == ("pending", None, ("lead",))
    assert (vote.version, vote.persons) == (first.version, ())
    second, _ = envelope.record_vote(first, Ballot("app_3", ("*",), approve=True), NOW)
    assert (second.state, second.decided_at) == ("approved", NOW)
    no = Ballot("app_2", ("lead",), approve=False, reason="no")
    denied, _ = envelope.record_vote(first, no, NOW + 1)
    assert (denied.state, denied.decided_at, len(denied.votes)) == ("denied", NOW + 1, 1)


@pytest.mark.parametrize(
    ("operator", "covers", "changes", "code"),
    [
        ("app_2", ("lead",), {}, None),
        ("app_1", ("*",), {}, "forbidden"),
        ("app_2", ("*",), {"owner": "app_2"}, "forbidden"),
        ("app_2", ("*",), {"owner": "app_3", "askers": ("app_2",)}, "forbidden"),
        ("app_2", ("*",), {"owner": "app_3", "askers": ("app_3",)}, None),
        ("app_2", ("intern",), {}, "forbidden"),
        ("app_2", ("lead",), {"state": "denied", "decided_at": NOW}, "already_decided"),
        ("app_2", ("lead",), {"expires_at": NOW}, "already_decided"),
        ("app_2", ("lead",), {"revoked": True}, "already_decided"),
        ("app_1", ("*",), {"state": "approved"}, "forbidden"),
    ],
)
@pytest.mark.parametrize("answer", ["approve", "deny"])
def test_votes_that_do_not_count_have_a_code(
    operator: str, covers: tuple[str, ...], changes: dict[str, Any], code: str | None, answer: str
) -> None:
    ballot = Ballot(operator, covers, approve=answer == "approve")
    found = envelope.vote_error(made(**changes), ballot, NOW)
    assert (None if found is None else found.code) == code


def test_an_operator_cannot_vote_if_the_asker_is_the_same_person() -> None:
    asked = made(owner="app_3", askers=("app_4", "app_5"))
    for approve in (True, False):
        ballot = Ballot("app_2", ("*",), approve, persons=("app_9", "app_5"))
        found = envelope.vote_error(asked, ballot, NOW)
        assert found is not None
        assert "nomos operators confirm app_2" in found.message
        another = replace(ballot, persons=("app_2",))
        assert envelope.vote_error(asked, another, NOW) is None


SHOWN: dict[str, Any] = {
    "bound": BOUND | {"args": {"title": "It works"}},
    "sent": {"title": "It broke "},
    "purpose": "ship to prod",
    "roles": ("lead", "security"),
    "policies": ("careful", "more"),
    "reason": "because",
    "expires_at": NOW + 1,
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_shown_member_changes_the_version(name: str) -> None:
    first = made()
    other = made(**{name: SHOWN[name]}) if name != "roles" else made("lead", "security")
    assert other.version != first.version
    vote = yes(first, "lead")
    assert first.counts(vote)
    assert not other.counts(vote)
    assert envelope.version_error(other, first.version) is not None
    assert envelope.version_error(other, other.version) is None


def test_votes_and_state_do_not_change_the_version() -> None:
    first = made()
    vote = yes(first, "lead")
    after = replace(first, votes=(vote,), state="approved", decided_at=NOW, revoked=True)
    assert after.version == first.version


@pytest.mark.parametrize(
    "change",
    [
        {"stands": False},
        {"version": None},
        {"version": "0" * 64},
        {"operator": "app_9"},
        {"persons": ("app_8", "app_9")},
        {"approve": False},
    ],
)
def test_votes_that_are_no_approval_do_not_count(change: dict[str, Any]) -> None:
    asked = made(askers=("app_9",))
    assert asked.counts(yes(asked, "lead"))
    assert not asked.counts(replace(yes(asked, "lead"), **change))


def test_additional_roles_do_not_extend_the_expiry() -> None:
    then = made(reason="one", purpose="a")
    more = made("security", policies=("other",), reason="two", purpose="b", expires_at=NOW + 5)
    after = envelope.add_roles(then, more)
    assert (after.roles, after.policies) == (("lead", "security"), ("careful", "other"))
    assert (after.reason, after.purpose, after.expires_at) == ("one; two", "b", NOW + 5)
    assert after.version not in (then.version, more.version)


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ({"a": "x"}, {"a": "x"}, True),
        ({"a": "x"}, {"a": "y"}, False),
        ({"a": "x", "b": "y"}, {"a": "x"}, True),
        ({"a": "x"}, {"a": "x", "b": "y"}, True),
        ({"a": "x", "b": 1}, {"a": "x", "b": True}, False),
        ({}, {"a": "x"}, True),
    ],
)
def test_an_omitted_field_is_open(
    then: dict[str, Any],
    now: dict[str, Any],
    same: bool,  # noqa: FBT001
) -> None:
    one, other = BOUND | {"resource": then}, BOUND | {"resource": now}
    assert envelope.same_resource(one, other) is same


def test_the_action_hash_depends_on_tenant_command_and_resource() -> None:
    action = envelope.action_hash(BOUND)
    changes: list[dict[str, Any]] = [
        *({"args": None}, {"app": "app_9"}, {"ttl": 1}, {"agentDid": "x"}, {"context": {}})
    ]
    for change in changes:
        assert envelope.action_hash(BOUND | change) == action
    assert envelope.action_hash(BOUND | {"command": "/a"}) != action
    assert envelope.action_hash(BOUND | {"tenant": "b"}) != action


def test_a_view_omits_missing_members() -> None:
    shown = view("http://x", made(bound=BOUND | {"args": None, "context": {}}), NOW)
    assert ApprovalView.model_validate(shown)
    absent = {"args", "bound", "context", "purpose", "reason", "decidedAt", "consumedAt"}
    assert not absent & set(shown)
    assert shown["argsBound"] is False


def test_a_view_keeps_empty_members() -> None:
    bound = BOUND | {"args": {}, "context": {"fact": None}}
    shown = view("http://x", made(bound=bound, sent={}), NOW)
    assert (shown["args"], shown["bound"], shown["argsBound"]) == ({}, {}, True)
    assert shown["context"] == {"fact": None}
