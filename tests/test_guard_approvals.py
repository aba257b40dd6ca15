"""Approvals on a real system, from the question to the verified receipt."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from guard_kinds import GUARD_KINDS, GuardKind

from nomos import AsyncAuthGuard, AuthGuard, FailOpenWarning, errors
from nomos._sealed import changed
from nomos.server.domain import envelope

POLICY = """
@id("files") permit (principal, action in Action::"/filesystem", resource);
@id("github") permit (principal, action in Action::"/github", resource);

@id("careful-writes") @step_up("lead") @reason("a lead reads what is published")
forbid (principal, action == Action::"/filesystem/file/write", resource)
unless { context.cosigned };

@id("careful-reads") @step_up("lead")
forbid (principal, action == Action::"/github/repo/read", resource)
unless { context.cosigned };
"""
READ: dict[str, Any] = {
    "command": "/github/repo/read",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}
LIST = READ | {"command": "/github/issue/list"}

each_guard_kind = pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)


def writing(name: str) -> dict[str, Any]:
    return {
        "command": "/filesystem/file/write",
        "resource": {"provider": "filesystem", "path": name},
        "args": {"content": f"This is {name}."},
        "purpose": "publish",
    }


@pytest.fixture(scope="module")
def system() -> Iterator[AuthGuard]:
    """A running system; this guard is the way of its operator."""
    with AuthGuard.embedded(policies=POLICY) as running:
        yield running


def agent_of(system: AuthGuard, guard_kind: GuardKind, **settings: Any) -> Any:
    return guard_kind.guard(
        control_plane_url=system.control_plane_url,
        api_key=system.api_key,
        pdp_url=system.pdp_url,
        **settings,
    )


@pytest.fixture
def agent(system: AuthGuard, guard_kind: GuardKind) -> Iterator[Any]:
    guard = agent_of(system, guard_kind)
    yield guard
    guard_kind.call(guard.close)


@contextmanager
def person(
    system: AuthGuard, grant: Any, *, approve: bool, reason: str | None = None
) -> Iterator[list[Any]]:
    """An operator in a thread, who finds the question in the queue and decides it."""
    seen: list[Any] = []
    ident = grant.approval_envelope_id

    def work() -> None:
        seen.extend(one for one in system.approvals.list() if one.id == ident)
        time.sleep(0.3)
        seen.append(system.approvals.decide(ident, approve=approve, reason=reason))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        thread.join()


def put(system: AuthGuard, question: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
    body = {"path": question["resource"]["path"], **question["args"]}
    return httpx.put(f"{system.pdp_url}/filesystem/file/write", json=body, headers=headers)


@each_guard_kind
def test_an_approved_call_is_made_once(
    system: AuthGuard, agent: Any, guard_kind: GuardKind
) -> None:
    question = writing(f"{guard_kind.name}.md")
    grant = guard_kind.call(agent.authorize, **question)
    assert (grant.decision, grant.explanation.policies) == ("requires_step_up", ("careful-writes",))
    with pytest.raises(errors.StepUpRequired, match="a lead reads what is published"):
        grant.require()

    with person(system, grant, approve=True, reason="looks fine") as seen:
        approval = guard_kind.call(
            agent.wait_for_approval, envelope_id=grant.approval_envelope_id, timeout=20
        )
    asked, answered = seen
    assert (asked.command, asked.args) == (question["command"], question["args"])
    assert (asked.purpose, asked.agent, asked.roles) == ("publish", grant.agent, ("lead",))
    assert (asked.url, asked.expires_at) == (grant.approval_url, grant.expires_at)
    assert approval
    assert approval == answered
    assert [(vote.approve, vote.reason) for vote in approval.votes] == [(True, "looks fine")]

    again = {**question, "cosigner_envelope_id": grant.approval_envelope_id}
    allow = guard_kind.call(agent.authorize, **again).require()
    done = put(system, question, {"authorization": f"Bearer {allow.ucan}"})
    assert done.status_code == 200, done.text
    assert system.workspace is not None
    assert (
        system.workspace / f"{guard_kind.name}.md"
    ).read_text() == f"This is {guard_kind.name}.md."

    twice = put(system, question, guard_kind.call(allow.headers))
    assert (twice.status_code, twice.json()["error_code"]) == (403, "approval_already_used")
    refused = guard_kind.call(agent.authorize, **again)
    with pytest.raises(errors.Denied, match=r"approval_already_used \(an approval can be used"):
        refused.require()
    used = guard_kind.call(agent.wait_for_approval, envelope_id=grant.approval_envelope_id)
    assert (used.state, bool(used)) == ("consumed", False)


@each_guard_kind
def test_a_denied_call_has_the_operators_reason(
    system: AuthGuard, agent: Any, guard_kind: GuardKind
) -> None:
    question = writing(f"{guard_kind.name}-no.md")
    grant = guard_kind.call(agent.authorize, **question)
    with person(system, grant, approve=False, reason="not before Monday"):
        approval = guard_kind.call(agent.wait_for_approval, envelope_id=grant.approval_envelope_id)
    assert (approval.state, bool(approval)) == ("denied", False)
    assert [vote.reason for vote in approval.votes] == ["not before Monday"]
    refused = guard_kind.call(
        agent.authorize, **question, cosigner_envelope_id=grant.approval_envelope_id
    )
    with pytest.raises(errors.Denied, match=r"approval_denied \(a person denied it\)") as denied:
        refused.require()
    assert denied.value.code == "approval_denied"


@each_guard_kind
def test_an_approval_is_refused_for_another_question_or_key(
    system: AuthGuard, agent: Any, guard_kind: GuardKind
) -> None:
    question = writing(f"{guard_kind.name}-same.md")
    ident = str(guard_kind.call(agent.authorize, **question).approval_envelope_id)
    system.approvals.decide(ident, approve=True)
    other = question | {"args": {"content": "something else"}}
    restarted = agent_of(system, guard_kind)
    for guard, asked, field in ((agent, other, "args.content"), (restarted, question, "agentDid")):
        refused = guard_kind.call(guard.authorize, **asked, cosigner_envelope_id=ident)
        with pytest.raises(errors.Denied, match="approval is for another question") as denied:
            refused.require()
        assert denied.value.code == "approval_mismatch"
        assert refused.explanation.fields == (field,)
        assert field in str(denied.value)
    guard_kind.call(restarted.close)
    assert guard_kind.call(agent.authorize, **question, cosigner_envelope_id=ident)


@each_guard_kind
def test_an_undecided_question_expires_and_can_be_asked_again(
    system: AuthGuard, agent: Any, guard_kind: GuardKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "LIFE_SECONDS", 2)
    question = writing(f"{guard_kind.name}-late.md")
    grant = guard_kind.call(agent.authorize, **question)
    began = time.monotonic()
    approval = guard_kind.call(agent.wait_for_approval, envelope_id=grant.approval_envelope_id)
    assert (approval.state, bool(approval)) == ("expired", False)
    assert time.monotonic() - began < 8
    with pytest.raises(errors.Conflict) as late:
        system.approvals.decide(approval.id, approve=True)
    assert late.value.code == "already_decided"
    asked = guard_kind.call(
        agent.authorize, **question, cosigner_envelope_id=grant.approval_envelope_id
    )
    assert (asked.decision, asked.reason) == ("requires_step_up", "approval_expired")
    assert asked.approval_envelope_id != grant.approval_envelope_id


@each_guard_kind
def test_get_approval_returns_the_state_or_not_found(
    system: AuthGuard, agent: Any, guard_kind: GuardKind
) -> None:
    grant = guard_kind.call(agent.authorize, **writing(f"{guard_kind.name}-once.md"))
    with pytest.raises(TimeoutError, match=str(grant.approval_envelope_id)):
        guard_kind.call(agent.wait_for_approval, envelope_id=grant.approval_envelope_id, timeout=0)
    system.approvals.decide(str(grant.approval_envelope_id), approve=True)
    assert guard_kind.call(
        agent.wait_for_approval, envelope_id=grant.approval_envelope_id, timeout=0
    )
    with pytest.raises(errors.NotFound, match="env_nobody"):
        guard_kind.call(agent.wait_for_approval, envelope_id="env_nobody")


@each_guard_kind
def test_an_embedded_guard_lists_and_decides_approvals(guard_kind: GuardKind) -> None:
    guard = guard_kind.guard.embedded(policies=POLICY)
    grants = [guard_kind.call(guard.authorize, **writing(f"{n}.md")) for n in range(2)]
    ids = {grant.approval_envelope_id for grant in grants}
    assert {one.id for one in guard_kind.call(guard.approvals.list)} == ids
    assert len(guard_kind.call(guard.approvals.list, limit=1)) == 1
    first = grants[0].approval_envelope_id
    assert guard_kind.call(guard.approvals.get, envelope_id=first).state == "pending"
    assert guard_kind.call(guard.approvals.decide, envelope_id=first, approve=True)
    assert [one.id for one in guard_kind.call(guard.approvals.list, state="approved")] == [first]
    assert len(guard_kind.call(guard.approvals.list, state="all")) == 2
    with pytest.raises(errors.Conflict, match="approved"):
        guard_kind.call(guard.approvals.decide, envelope_id=first, approve=False)
    with pytest.raises(errors.NotFound):
        guard_kind.call(guard.approvals.decide, envelope_id="env_nobody", approve=True)
    key = guard.approvals.operator_key.reveal()
    assert key not in repr(guard) + repr(vars(guard)) + repr(guard.approvals)
    guard_kind.call(guard.close)
    with pytest.raises(errors.ConfigurationError, match="closed"):
        guard_kind.call(guard.approvals.list)


def test_an_agents_api_key_cannot_decide(system: AuthGuard) -> None:
    with AuthGuard(control_plane_url=system.control_plane_url, api_key=system.api_key) as agent:
        grant = agent.authorize(**writing("self.md"))
    answered = httpx.post(
        f"{system.control_plane_url}/v1/approvals/{grant.approval_envelope_id}/decide",
        json={"approve": True},
        headers={"authorization": f"Bearer {system.api_key}"},
    )
    assert (answered.status_code, answered.json()["error_code"]) == (403, "forbidden")


def test_all_waiting_threads_get_the_decision(system: AuthGuard) -> None:
    grant = system.authorize(**writing("threads.md"))
    ident = str(grant.approval_envelope_id)
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(system.wait_for_approval(ident, timeout=20).state)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    system.approvals.decide(ident, approve=True)
    for thread in threads:
        thread.join()
    assert found == ["approved"] * 8


def test_closing_an_embedded_guard_ends_waiting_threads() -> None:
    guard = AuthGuard.embedded(policies=POLICY)
    ident = str(guard.authorize(**writing("closed.md")).approval_envelope_id)
    ended: list[Exception] = []

    def wait() -> None:
        try:
            guard.wait_for_approval(ident)
        except errors.NomosError as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    guard.close()
    thread.join(10)
    assert time.monotonic() - began < 4, "less than the server's grace"
    assert [str(error) for error in ended] == ["this guard is closed; make a new one"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_wait_does_not_change_the_question(system: AuthGuard, backend: str) -> None:
    async def use() -> None:
        async with AsyncAuthGuard(
            control_plane_url=system.control_plane_url, api_key=system.api_key
        ) as agent:
            grant = await agent.authorize(**writing(f"{backend}-cancelled.md"))
            ident = str(grant.approval_envelope_id)
            with anyio.move_on_after(0.3) as scope:
                await agent.wait_for_approval(ident)
            assert scope.cancelled_caught
            decide = system.approvals.decide
            await anyio.to_thread.run_sync(lambda: decide(ident, approve=True))
            assert await agent.wait_for_approval(ident, timeout=5)

    anyio.run(use, backend=backend)


def test_a_forked_child_waits_and_acts_on_its_own_connections() -> None:
    program = f"""
        import os, sys
        from nomos import AuthGuard
        guard = AuthGuard.embedded(policies={POLICY!r})
        question = {writing("forked.md")!r}
        envelope = guard.authorize(**question).approval_envelope_id
        child = os.fork()
        if child == 0:
            approval = guard.wait_for_approval(envelope, timeout=20)
            grant = guard.authorize(**question, cosigner_envelope_id=envelope)
            os._exit(0 if approval and grant else 1)
        guard.approvals.decide(envelope, approve=True)
        print(os.waitpid(child, 0)[1], guard.approvals.get(envelope).state)
        guard.close()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "0 consumed\n", done.stderr[-2000:]


# Without a decision


@each_guard_kind
def test_open_an_approved_allow_is_not_reused_in_an_outage(
    guard_kind: GuardKind,
) -> None:
    with AuthGuard.embedded(policies=POLICY) as system:
        guard = agent_of(system, guard_kind, failure_mode="open")
        ident = str(guard_kind.call(guard.authorize, **READ).approval_envelope_id)
        system.approvals.decide(ident, approve=True)
        assert guard_kind.call(guard.authorize, **READ, cosigner_envelope_id=ident).ucan
        assert guard_kind.call(guard.authorize, **LIST).ucan
        assert [held.command for held in guard._held.values()] == [LIST["command"]]
    with pytest.raises(errors.Unreachable, match="does not allow it"):
        guard_kind.call(guard.authorize, **READ, cosigner_envelope_id=ident)
    with pytest.warns(FailOpenWarning):
        assert guard_kind.call(guard.authorize, **LIST).ucan, "this one was allowed by policy alone"
    guard_kind.call(guard.close)


@each_guard_kind
def test_open_a_revoked_allow_is_not_reused_in_an_outage(guard_kind: GuardKind) -> None:
    with AuthGuard.embedded(policies=POLICY) as system:
        guard = agent_of(system, guard_kind, failure_mode="open")
        guard_kind.call(guard.revoke, grant_or_id=guard_kind.call(guard.authorize, **LIST))
    with pytest.warns(FailOpenWarning):
        assert guard_kind.call(guard.authorize, **LIST).ucan is None
    guard_kind.call(guard.close)


# Taking it back


@each_guard_kind
def test_a_revoked_grant_is_refused_by_the_pdp(
    system: AuthGuard, agent: Any, guard_kind: GuardKind
) -> None:
    def read(headers: Mapping[str, str]) -> httpx.Response:
        url = f"{system.pdp_url}/filesystem/dir/list"
        return httpx.get(url, params={"path": ""}, headers=headers)

    where = {"provider": "filesystem", "path": ""}
    grant = guard_kind.call(agent.authorize, command="/filesystem/dir/list", resource=where)
    assert read(guard_kind.call(grant.headers)).status_code == 200
    first = guard_kind.call(agent.revoke, grant_or_id=grant, reason="no longer needed")
    again = guard_kind.call(agent.revoke, grant_or_id=first.id)
    assert (first.already_revoked, again.already_revoked) == (False, True)
    assert (again.seq, again.at) == (first.seq, first.at)
    refused = read(guard_kind.call(grant.headers))
    assert refused.json()["error_code"] == "revoked"


@each_guard_kind
def test_a_question_can_be_revoked_before_its_decision(
    system: AuthGuard, agent: Any, guard_kind: GuardKind
) -> None:
    question = writing(f"{guard_kind.name}-back.md")
    grant = guard_kind.call(agent.authorize, **question)
    revocation = guard_kind.call(agent.revoke, grant_or_id=grant)
    assert revocation.id == grant.approval_envelope_id
    again = guard_kind.call(
        agent.authorize, **question, cosigner_envelope_id=grant.approval_envelope_id
    )
    assert not again


# What is on record


@each_guard_kind
def test_a_receipt_is_verified_offline_and_only_unchanged(guard_kind: GuardKind) -> None:
    guard = guard_kind.guard.embedded(policies=POLICY)
    grant = guard_kind.call(guard.authorize, **LIST)
    receipt = guard_kind.call(guard.receipt, receipt_id=grant.receipt_id)
    other = guard_kind.call(
        guard.receipt, receipt_id=guard_kind.call(guard.authorize, **READ).receipt_id
    )
    with pytest.raises(errors.NotFound):
        guard_kind.call(guard.receipt, receipt_id="evt_" + "0" * 26)
    guard_kind.call(guard.close)

    assert guard_kind.call(receipt.verify, issuer=grant.issuer) is receipt
    assert (receipt.id, receipt.decision) == (grant.receipt_id, "allow")
    assert (receipt.command, receipt.resource) == (LIST["command"], LIST["resource"])
    edited = {**receipt.row, "decision": "deny"}
    for wrong in (
        changed(receipt, row=edited),
        changed(receipt, hash="0" * 64),
        changed(receipt, row=other.row, hash=other.hash),
        changed(receipt, checkpoint=other.checkpoint),
        changed(receipt, checkpoint=grant.chain[0]),
    ):
        with pytest.raises(errors.InvalidReceipt) as unproven:
            guard_kind.call(wrong.verify, issuer=grant.issuer)
        assert unproven.value.code
    with pytest.raises(errors.InvalidReceipt):
        guard_kind.call(receipt.verify, issuer=grant.agent)


def test_a_receipt_is_verified_from_an_older_issuer_key() -> None:
    with AuthGuard.embedded(policies=POLICY) as guard:
        first = guard.authorize(**LIST)
        rotated = httpx.post(
            f"{guard.control_plane_url}/v1/keys/rotate",
            json={},
            headers={"authorization": f"Bearer {guard.approvals.operator_key.reveal()}"},
        )
        assert rotated.status_code == 200, rotated.text
        second = guard.authorize(**LIST)
        assert second.issuer != first.issuer
        receipt = guard.receipt(str(second.receipt_id))
    assert receipt.verify(str(first.issuer)) is receipt
    assert receipt.verify(str(second.issuer)) is receipt
    with pytest.raises(errors.InvalidReceipt):
        changed(receipt, keys=receipt.keys[1:]).verify(str(first.issuer))


def test_an_approval_is_in_the_receipt(system: AuthGuard, tmp_path: Path) -> None:
    question = writing("recorded.md")
    envelope_id = str(system.authorize(**question).approval_envelope_id)
    system.approvals.decide(envelope_id, approve=True, reason="on record")
    allow = system.authorize(**question, cosigner_envelope_id=envelope_id)
    receipt = system.receipt(str(allow.receipt_id)).verify(str(allow.issuer))
    assert receipt.row["envelope"] == envelope_id


@pytest.mark.parametrize("issuer", [None, "", "xx", "did:web:example.com", "did:key:z6Mk"])
def test_a_receipt_is_verified_against_a_did(issuer: Any) -> None:
    policy = "permit (principal, action, resource);"
    with AuthGuard.embedded(policies=policy) as guard:
        grant = guard.authorize(
            command="/filesystem/file/read", resource={"provider": "filesystem", "path": "a"}
        )
        receipt = guard.receipt(grant.receipt_id or "")
        with pytest.raises(errors.ConfigurationError, match=r"/\.well-known/nomos"):
            receipt.verify(issuer)
