"""Swarms in the audit log: delegations, calls and revocations of each agent."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from audit.families import APP, AT, LISTING, Log, cid, did
from hypothesis import given
from hypothesis import strategies as some

from nomos.audit.agent_activity import MAX_ACTIONS
from nomos.audit.record import Record
from nomos.audit.swarm import Counts, Swarm, recorded_at
from nomos.audit.swarm_builder import SwarmsBuilder
from nomos.cli.swarm.commands import _agents

A, B, C, UNVERIFIED = did("a"), did("b"), did("c"), did("thief")


def tree(swarm: Swarm) -> list[tuple[str, str | None, int]]:
    return [(each.agent, each.forked_by, each.depth) for each in swarm.members]


# Who came from whom


def test_each_agent_is_listed_after_its_parent() -> None:
    log = Log()
    grant = log.grant()
    first = log.link(log.root, A, grant)
    log.link(log.root, B, grant)
    log.link(A, C, first)
    assert tree(log.swarm()) == [
        (log.root, None, 0),
        (A, log.root, 1),
        (C, A, 2),
        (B, log.root, 1),
    ]
    swarm = log.swarm()
    assert (swarm.agents, swarm.depth, swarm.apps, swarm.complete) == (4, 2, ["app_1"], True)
    assert (swarm.first_at, swarm.last_at) == (recorded_at(AT), recorded_at(AT + 3000))


def test_a_second_delegation_does_not_move_an_agent() -> None:
    log = Log()
    log.link(log.root, A)
    log.link(log.root, B)
    log.link(B, A)
    assert tree(log.swarm()) == [(log.root, None, 0), (A, log.root, 1), (B, log.root, 1)]
    assert [each.by for each in log.member(A).given] == [log.root, B]


def test_delegations_back_to_a_parent_make_no_cycle() -> None:
    log = Log()
    log.link(log.root, A)
    log.link(A, B)
    log.link(B, A)
    log.link(B, log.root)
    log.link(A, A)
    assert tree(log.swarm()) == [(log.root, None, 0), (A, log.root, 1), (B, A, 2)]
    assert [each.by for each in log.member(log.root).given] == [B]


def test_an_agent_with_an_unrecorded_parent_is_listed_under_the_root() -> None:
    log = Log()
    log.link(A, B)
    log.add("delegation", C, command=LISTING)
    assert tree(log.swarm()) == [(log.root, None, 0), (B, log.root, 1), (C, log.root, 1)]
    assert log.member(B).given[0].by == A
    assert log.member(C).given[0].by is None


def test_an_agent_without_children_is_a_swarm_of_one() -> None:
    log = Log()
    log.grant()
    assert tree(log.swarm()) == [(log.root, None, 0)]
    assert log.families().latest(9) == ()
    assert tree(SwarmsBuilder().swarm(A)) == [(A, None, 0)]


# With what


def test_a_delegation_is_listed_with_its_limits() -> None:
    log = Log()
    grant = log.grant()
    log.link(log.root, A, grant, detail={"pol": [["==", ".args.state", "open"]], "depth": 1})
    [given] = log.member(A).given
    assert given.as_json() == {
        "command": LISTING,
        "resource": APP,
        "pol": [["==", ".args.state", "open"]],
        "by": log.root,
        "cid": cid("link 1"),
        "at": recorded_at(AT + 1000),
        "expiresAt": recorded_at(AT + 200_000),
        "receiptId": "evt_00000000000000000000000001",
    }


def test_delegated_or_revoked_grants_of_the_issuer_are_listed() -> None:
    log = Log()
    delegated = log.grant()
    revoked = log.grant(command="/filesystem")
    log.grant(command="/github/repo")
    above = log.link(log.root, A, delegated)
    again = log.grant(A, command="/github/issue", parent=above.id)
    log.link(A, B, again)
    log.revoke(str(revoked.cid))
    root, child = log.member(log.root), log.member(A)
    assert [(each.command, each.by) for each in root.given] == [
        ("/github", None),
        ("/filesystem", None),
    ]
    assert [(each.command, each.by) for each in child.given] == [
        (LISTING, log.root),
        ("/github/issue", None),
    ]
    assert tree(log.swarm())[-1] == (B, A, 2)
    assert root.decisions == Counts(allowed=3)


def test_a_revoked_delegation_has_time_operator_and_reason() -> None:
    log = Log()
    link = log.link(log.root, A)
    log.link(log.root, B)
    log.revoke(str(link.cid), "its machine was lost")
    log.revoke(str(link.cid), "once more")
    log.revoke(B)
    log.revoke(did("somebody else"))
    revoked = log.member(A).given[0].revoked
    assert revoked is not None
    assert revoked.as_json() == {
        "at": recorded_at(AT + 2000),
        "by": "app_operator",
        "reason": "its machine was lost",
        "receiptId": "evt_00000000000000000000000002",
    }
    assert log.member(A).revoked is None
    assert log.member(B).revoked is not None
    assert log.member(B).given[0].revoked is None
    assert log.swarm().revoked == 2


# What each one did


def test_equal_actions_are_counted_as_one_line() -> None:
    log = Log()
    log.link(log.root, A)
    for _ in range(3):
        log.call(A)
    last = log.call(A, "resource_out_of_scope", resource={**APP, "repo": "web"})
    asked = {"command": "/github/issue/create", "decision": "requires_step_up"}
    log.add("decision", A, resource=APP, reason="step_up_required", **asked)
    log.add("decision", A, decision="deny", reason="policy_denied", command="/x")
    log.add("approval", A, act="approve")
    member = log.member(A)
    assert member.calls == Counts(allowed=3, refused=1)
    assert member.decisions == Counts(refused=1, asked=1)
    [done] = member.allowed
    assert (done.kind, done.times, done.last_at) == ("call", 3, recorded_at(AT + 3000))
    assert [(each.command, each.reason, each.times) for each in member.refused] == [
        ("/x", "policy_denied", 1),
        (LISTING, "resource_out_of_scope", 1),
    ]
    assert member.refused[1].receipt_id == last.id
    assert member.refused[0].resource == {}
    assert [each.reason for each in member.asked] == ["step_up_required"]
    assert member.last_at == recorded_at(AT + 6000)
    assert log.member(log.root).last_at is None
    swarm = log.swarm()
    assert (swarm.calls, swarm.decisions) == (member.calls, member.decisions)


@pytest.mark.parametrize(
    ("ends", "counted"),
    [
        ([], Counts(allowed=1)),
        ([{"decision": "allow", "status": 200}], Counts(allowed=1)),
        ([{"decision": "deny", "reason": "replayed", "status": 401}], Counts(refused=1)),
    ],
)
def test_a_call_with_two_records_is_one(ends: list[dict[str, Any]], counted: Counts) -> None:
    log = Log()
    log.link(log.root, A)
    intent = log.call(A, status=None)
    for end in ends:
        log.call(A, id=f"{intent.id}_end", **end)
    assert log.member(A).calls == counted
    assert sum(each.times for each in (*log.member(A).allowed, *log.member(A).refused)) == 1
    assert log.families().roots_of(intent.id) == (log.root,)


def test_an_outcome_without_its_intent_is_counted() -> None:
    log = Log()
    log.call(log.root, id="evt_1_end")
    assert log.member(log.root).calls == Counts(allowed=1)


def test_the_latest_actions_are_listed_and_the_others_counted() -> None:
    log = Log()
    for number in (0, 0, *range(1, MAX_ACTIONS + 5)):
        log.call(log.root, "resource_out_of_scope", resource={**APP, "repo": f"r{number}"})
    log.call(log.root)
    member = log.member(log.root)
    assert len(member.refused) == MAX_ACTIONS
    assert member.refused[0].resource["repo"] == f"r{MAX_ACTIONS + 4}"
    assert member.unlisted == 6
    assert [each.times for each in member.allowed] == [1]
    assert member.calls == Counts(allowed=1, refused=MAX_ACTIONS + 6)


def test_an_agent_with_invalid_chains_only_is_no_member() -> None:
    log = Log()
    log.link(log.root, A)
    log.call(UNVERIFIED, "chain_invalid")
    log.call(B, "chain_attenuation_violation")
    log.link(log.root, B)
    swarm = log.swarm()
    assert [each.agent for each in swarm.unverified_agents] == [UNVERIFIED]
    assert UNVERIFIED not in {each.agent for each in swarm.members}
    assert swarm.calls.refused == 2
    assert swarm.agents == 3
    assert {each["agent"] for each in _agents(swarm.as_json())} == {log.root, A, B, UNVERIFIED}


# Finding one


def test_a_swarm_is_found_by_agent_record_delegation_and_label() -> None:
    log = Log()
    grant = log.grant(detail={"swarm": "app_1/nightly"})
    link = log.link(log.root, A, grant, detail={"swarm": "app_1/nightly"})
    call = log.call(A)
    other = Log("other")
    other.records = log.records
    other.link(other.root, B, detail={"swarm": "nightly"})
    families = log.families()
    for ident in (log.root, A, grant.id, link.id, call.id, link.cid, grant.cid):
        assert families.roots_of(str(ident)) == (log.root,)
    assert families.roots_of("nightly") == (other.root, log.root)
    assert families.roots_of("app_1/nightly") == (log.root,)
    for ident in ("daily", "app_1", "app_2/nightly", "/nightly"):
        assert families.roots_of(ident) == ()
    assert [each.root for each in families.latest(9)] == [other.root, log.root]
    assert [each.root for each in families.latest(1)] == [other.root]
    assert families.swarm(log.root).labels == ["app_1/nightly"]


def test_an_agents_own_swarm_comes_before_those_that_it_joined() -> None:
    log, other = Log(), Log("other")
    other.records = log.records
    log.link(log.root, A)
    other.link(other.root, log.root)
    assert log.families().roots_of(log.root) == (log.root, other.root)


# Whatever a file holds


def test_values_of_other_types_count_as_absent() -> None:
    good = Log().link(did("root"), A)
    odd: list[Any] = [None, 7, 1.5, True, "x", "evt_1", [1], {"by": 1, "pol": "x", "swarm": 3}]
    for name in (each.name for each in fields(Record)):
        for value in odd:
            families = SwarmsBuilder()
            for kind in ("delegation", "call", "decision", "revocation"):
                changes: dict[str, Any] = {"kind": kind, "decision": "allow", name: value}
                families.add(replace(good, **changes))
            for swarm in (families.swarm(str(good.root)), *families.latest(9)):
                assert Swarm.model_validate(json.loads(json.dumps(swarm.as_json()))) == swarm


@pytest.mark.parametrize(
    ("at", "unit", "expected"),
    [
        (0, 1, "1970-01-01T00:00:00.000Z"),
        (AT + 7, 1, "2026-11-21T12:00:00.007Z"),
        (AT // 1000, 1000, "2026-11-21T12:00:00.000Z"),
        (10**30, 1000, "9999-12-31T23:59:59.999Z"),
        (-5, 1, "1970-01-01T00:00:00.000Z"),
        ("soon", 1, "1970-01-01T00:00:00.000Z"),
    ],
)
def test_times_have_the_form_of_the_api(at: object, unit: int, expected: str) -> None:
    assert recorded_at(at, unit=unit) == expected


def test_a_summary_has_everything_but_the_members() -> None:
    log = Log()
    log.link(log.root, A)
    swarm = log.swarm()
    said = swarm.as_json()
    assert said.pop("members")
    assert said.pop("unverifiedAgents") == []
    assert swarm.summary().as_json() == said


def test_unknown_members_of_a_newer_server_are_ignored() -> None:
    said = Log().swarm().as_json() | {"serverTime": "now", "mood": "good"}
    assert Swarm.model_validate(said).root == did("root")


# Whatever happened

EVENTS = some.lists(
    some.one_of(
        some.tuples(some.just("link"), some.integers(0, 6), some.integers(0, 6)),
        some.tuples(some.just("call"), some.integers(0, 6), some.booleans()),
        some.tuples(some.just("revoke"), some.integers(0, 6), some.none()),
    ),
    max_size=40,
)


@given(EVENTS)
def test_every_agent_is_there_once_and_every_call_is_counted(events: list[Any]) -> None:
    log = Log()
    names = [log.root, *(did(number) for number in range(1, 7))]
    placed, calls, acted = {log.root: ""}, [0, 0], {log.root}
    for what, who, other in events:
        agent = names[who]
        if what == "link":
            log.link(agent, names[other])
            placed.setdefault(names[other], agent if agent in placed else log.root)
        elif what == "call":
            log.call(agent, None if other else "expired")
            calls[not other] += 1
            acted.add(agent)
        else:
            log.revoke(agent)
    swarm = log.swarm()
    seen: list[str] = []
    for member in swarm.members:
        assert member.forked_by is None or member.forked_by in seen
        assert (member.forked_by or "") == placed[member.agent]
        seen.append(member.agent)
    assert sorted(seen) == sorted(placed)
    assert {each.agent for each in swarm.unverified_agents} == acted - set(placed)
    assert [swarm.calls.allowed, swarm.calls.refused] == calls
    actions = [
        action for each in (*swarm.members, *swarm.unverified_agents) for action in each.allowed
    ]
    assert sum(action.times for action in actions) == calls[0]
