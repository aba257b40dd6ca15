"""Approval requests: opened, decided, listed, and used once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import store_access
from pydantic import TypeAdapter
from server.control.people import (
    DELETE,
    ISSUE,
    POLICY,
    REPO,
    approved,
    asked,
    decide,
    operator,
    seen,
)

from nomos._io.signer import AsyncSigner
from nomos.server.background.notifier import Notifier
from nomos.server.control import limits
from nomos.server.control.approval_view import ApprovalReply, ApprovalsReply
from nomos.server.control.errors import ControlError
from nomos.server.control.limits import (
    MAX_LONG_POLLS,
    MOST_OF_ONE_APP,
    RESERVED,
    LongPollLimiter,
)
from nomos.server.control.messages import AllowReply, AuthorizeReply, DenyReply, StepUpReply
from nomos.server.domain.envelope import LIFE_SECONDS, MAX_PENDING
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

CONTROL_URL = "http://127.0.0.1:8788"
REPLY: TypeAdapter[AllowReply | DenyReply | StepUpReply] = TypeAdapter(AuthorizeReply)


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


async def test_a_step_up_opens_an_approval_request(plane: Plane, agent: str) -> None:
    answer = (await plane.ask(**ISSUE, agentDid=agent, purpose="tell them")).json()
    assert REPLY.validate_python(answer)
    envelope, receipt = answer.pop("approvalEnvelopeId"), answer.pop("receiptId")
    assert answer == {
        "decision": "requires_step_up",
        "reason": "step_up_required",
        "approvalUrl": f"{CONTROL_URL}/approvals/{envelope}",
        "expiresAt": "2027-01-15T08:15:00.000Z",
        "serverTime": "2027-01-15T08:00:00.000Z",
        "explanation": {
            "policies": ["issues"],
            "message": "A person must approve this (lead): a lead reads new issues first.",
        },
    }
    view = await seen(plane, envelope)
    assert ApprovalReply.model_validate(view)
    assert len(view.pop("fingerprint")) == 64
    assert len(view.pop("version")) == 64
    assert view == {
        "id": envelope,
        "state": "pending",
        "app": {"id": plane.app, "name": "tests"},
        "agent": agent,
        "command": "/github/issue/create",
        "resource": REPO,
        "argsBound": True,
        "args": ISSUE["args"],
        "bound": ISSUE["args"],
        "purpose": "tell them",
        "context": ISSUE["context"],
        "ttlSeconds": 300,
        "policies": ["issues"],
        "reason": "a lead reads new issues first",
        "roles": ["lead"],
        "approvedRoles": [],
        "votes": [],
        "createdAt": "2027-01-15T08:00:00.000Z",
        "expiresAt": "2027-01-15T08:15:00.000Z",
        "receiptId": receipt,
        "approvalUrl": f"{CONTROL_URL}/approvals/{envelope}",
        "serverTime": "2027-01-15T08:00:00.000Z",
    }


async def test_an_approval_gives_one_allow_for_exactly_what_was_approved(
    plane: Plane, agent: str
) -> None:
    lead = await operator(plane, "lead")
    envelope = await approved(plane, lead, **ISSUE, agentDid=agent)
    plane.clock.now += 5
    question = {**ISSUE, "agentDid": agent, "cosignerEnvelopeId": envelope}
    answer = (await plane.ask(**question)).json()
    assert answer["decision"] == "allow"
    token = plane.payload(answer["chain"][0])
    view = await seen(plane, envelope)
    assert token["meta"]["approval"] == {
        "id": envelope,
        "fingerprint": view["fingerprint"],
        "roles": ["lead"],
    }
    assert token["meta"]["audience"] == plane.system.pdp_did
    assert token["pol"] == [
        ["==", ".cmd", "/github/issue/create"],
        ["==", ".resource", dict(REPO)],
        ["==", ".args", ISSUE["args"]],
    ]
    assert (view["state"], view["consumedAt"]) == ("consumed", "2027-01-15T08:00:05.000Z")
    again = (await plane.ask(**question)).json()
    assert (again["decision"], again["reason"]) == ("deny", "approval_already_used")
    assert "08:00:05 UTC" in again["explanation"]["message"]


@pytest.mark.parametrize("args", [{"state": "open"}, {}, None])
async def test_an_approved_read_is_exact_too(plane: Plane, agent: str, args: Any) -> None:
    lead = await operator(plane, "lead")
    question = {"resource": {**REPO, "repo": "secret"}, "agentDid": agent}
    question |= {} if args is None else {"args": args}
    envelope = await approved(plane, lead, **question)
    answer = (await plane.ask(**question, cosignerEnvelopeId=envelope)).json()
    bound = [["==", ".cmd", "/github/issue/list"], ["==", ".resource", question["resource"]]]
    bound += [] if args is None else [["==", ".args", args]]
    assert plane.payload(answer["chain"][0])["pol"] == bound
    view = await seen(plane, envelope)
    assert view["argsBound"] == (args is not None)
    assert ("args" in view, "bound" in view) == (args is not None, args is not None)


async def test_operators_see_the_text_whose_hash_is_signed(plane: Plane) -> None:
    question = {
        "command": "/filesystem/file/write",
        "resource": {"provider": "filesystem", "path": "/notes.txt"},
        "args": {"content": "All is well.\n"},
    }
    view = await seen(plane, await asked(plane, **question))
    assert view["args"] == {"content": "All is well.\n"}
    assert list(view["bound"]["content"]) == ["sha256"]
    assert view["resource"]["path"] == "notes.txt"


async def test_an_approved_caller_without_its_own_key_gets_an_invocation(plane: Plane) -> None:
    envelope = await approved(plane, await operator(plane, "lead"), **ISSUE)
    answer = (await plane.ask(**ISSUE, cosignerEnvelopeId=envelope)).json()
    assert plane.payload(answer["ucan"])["prf"] == answer["chain"]


async def test_a_repeated_question_has_the_same_envelope(plane: Plane, agent: str) -> None:
    question = {**ISSUE, "agentDid": agent}
    first = await asked(plane, **question)
    plane.clock.now += 60
    assert await asked(plane, **question, purpose="the purpose is not bound") == first
    named = (await plane.ask(**question, cosignerEnvelopeId=first)).json()
    assert (named["decision"], named["approvalEnvelopeId"]) == ("requires_step_up", first)
    assert named["expiresAt"] == "2027-01-15T08:15:00.000Z"
    lead = await operator(plane, "lead")
    await decide(plane, lead, first)
    first_answer = (await plane.ask(**question)).json()
    assert (first_answer["decision"], first_answer["approvalEnvelopeId"]) == (
        "requires_step_up",
        first,
    )
    assert f"ask again with cosignerEnvelopeId {first}" in first_answer["explanation"]["message"]
    used = await plane.ask(**question, cosignerEnvelopeId=first)
    assert used.json()["decision"] == "allow"
    assert await asked(plane, **question) != first


async def test_many_at_once_ask_one_question(plane: Plane, agent: str) -> None:
    found = await asyncio.gather(*(asked(plane, **ISSUE, agentDid=agent) for _ in range(20)))
    assert len(set(found)) == 1
    queue = await plane.client.get("/v1/approvals", headers=await operator(plane))
    assert len(queue.json()["approvals"]) == 1


async def test_a_denial_is_remembered_for_fifteen_minutes(plane: Plane, agent: str) -> None:
    question = {**ISSUE, "agentDid": agent}
    envelope = await asked(plane, **question)
    plane.clock.now += 60
    lead = await operator(plane, "lead")
    view = (await decide(plane, lead, envelope, approve=False, reason="not this week")).json()
    assert (view["state"], view["decidedAt"]) == ("denied", "2027-01-15T08:01:00.000Z")
    for named in ({}, {"cosignerEnvelopeId": envelope}):
        answer = (await plane.ask(**question, **named)).json()
        assert (answer["decision"], answer["reason"]) == ("deny", "approval_denied")
        said = answer["explanation"]["message"]
        assert "a person (lead) denied this at 2027-01-15 08:01:00 UTC" in said
        assert '"not this week"' in said
        assert "2027-01-15 08:16:00 UTC" in said
    plane.clock.now += LIFE_SECONDS - 1
    assert (await plane.ask(**question)).json()["reason"] == "approval_denied"
    plane.clock.now += 1
    assert await asked(plane, **question) != envelope
    named = (await plane.ask(**question, cosignerEnvelopeId=envelope)).json()
    assert named["reason"] == "approval_denied"


@pytest.mark.parametrize("state", ["pending", "approved"])
async def test_an_expired_question_gets_a_new_envelope(
    plane: Plane, agent: str, state: str
) -> None:
    question = {**ISSUE, "agentDid": agent}
    envelope = await asked(plane, **question)
    lead = await operator(plane, "lead")
    if state == "approved":
        await decide(plane, lead, envelope)
    plane.clock.now += LIFE_SECONDS - 1
    assert (await seen(plane, envelope))["state"] == state
    plane.clock.now += 1
    assert (await seen(plane, envelope))["state"] == "expired"
    answer = (await plane.ask(**question, cosignerEnvelopeId=envelope)).json()
    assert REPLY.validate_python(answer)
    assert (answer["decision"], answer["reason"]) == ("requires_step_up", "approval_expired")
    assert answer["approvalEnvelopeId"] != envelope
    assert "expired at 2027-01-15 08:15:00 UTC" in answer["explanation"]["message"]
    assert answer["expiresAt"] == "2027-01-15T08:30:00.000Z"
    refused = await decide(plane, lead, envelope)
    assert (refused.status_code, refused.json()["error_code"]) == (409, "already_decided")
    assert "expired at 2027-01-15 08:15:00 UTC" in refused.json()["error"]


async def test_the_number_of_pending_questions_is_bounded(plane: Plane, agent: str) -> None:
    lead = await operator(plane, "lead")
    envelopes = [
        await asked(plane, **{**ISSUE, "args": {"title": str(number)}}, agentDid=agent)
        for number in range(MAX_PENDING)
    ]
    one_more = {**ISSUE, "args": {"title": "one more"}, "agentDid": agent}
    reply = await plane.ask({"idempotency-key": "k"}, **one_more)
    assert (reply.status_code, reply.json()["error_code"]) == (429, "rate_limited")
    assert reply.headers["retry-after"] == "60"
    assert "20 questions of this app are pending" in reply.json()["error"]
    again = {**ISSUE, "args": {"title": "0"}, "agentDid": agent}
    assert await asked(plane, **again) == envelopes[0]
    other = await plane.another()
    assert (await plane.ask(other, **{**one_more, "agentDid": ...})).status_code == 200
    await decide(plane, lead, envelopes[3])
    assert (await plane.ask({"idempotency-key": "k"}, **one_more)).status_code == 200
    plane.clock.now += LIFE_SECONDS
    assert (await plane.ask(**again)).status_code == 200


async def test_a_forbid_beside_a_step_up_is_a_deny(plane: Plane, agent: str) -> None:
    lead = await operator(plane, "lead")
    envelope = await approved(plane, lead, **ISSUE, agentDid=agent)
    frozen = {**ISSUE, "resource": {**REPO, "repo": "archive"}, "agentDid": agent}
    for named in ({}, {"cosignerEnvelopeId": envelope}):
        answer = (await plane.ask(**frozen, **named)).json()
        assert (answer["decision"], answer["reason"]) == ("deny", "policy_denied")
    assert (await seen(plane, envelope))["state"] == "approved"


async def test_a_question_that_policy_allows_uses_no_approval(plane: Plane, agent: str) -> None:
    lead = await operator(plane, "lead")
    question = {**ISSUE, "agentDid": agent}
    envelope = await approved(plane, lead, **question)
    answer = (await plane.ask(**question, purpose="routine", cosignerEnvelopeId=envelope)).json()
    assert answer["decision"] == "allow"
    assert "approval" not in plane.payload(answer["chain"][0])["meta"]
    assert (await seen(plane, envelope))["state"] == "approved"


async def test_a_retry_needs_the_roles_that_policy_requires_now(plane: Plane, agent: str) -> None:
    """The purpose is not bound, so the same question can need the approval of others."""
    lead, security = await operator(plane, "lead"), await operator(plane, "security")
    question = {**ISSUE, "agentDid": agent}
    envelope = await approved(plane, lead, **question)
    named = {**question, "cosignerEnvelopeId": envelope, "purpose": "urgent"}
    answer = (await plane.ask(**named)).json()
    assert (answer["reason"], answer["explanation"]["fields"]) == ("approval_mismatch", ["roles"])
    assert "security" in answer["explanation"]["message"]
    wider = await asked(plane, **question, purpose="urgent")
    assert wider != envelope
    await decide(plane, lead, wider)
    assert (await decide(plane, security, wider)).json()["state"] == "approved"
    named["cosignerEnvelopeId"] = wider
    assert (await plane.ask(**named)).json()["decision"] == "allow"


async def test_a_pending_question_gets_additional_roles(plane: Plane) -> None:
    lead = await operator(plane, "lead")
    envelope = await asked(plane, **ISSUE)
    assert await asked(plane, **ISSUE, purpose="urgent") == envelope
    wider = await seen(plane, envelope)
    assert (wider["roles"], wider["purpose"]) == (["lead", "security"], "urgent")
    assert wider["policies"] == ["issues", "urgent"]
    assert (await decide(plane, lead, envelope)).json()["state"] == "pending"
    assert await asked(plane, **ISSUE) == envelope
    assert (await seen(plane, envelope))["roles"] == ["lead", "security"]


async def test_a_missing_approval_is_reported(plane: Plane) -> None:
    for ident in ("env_1", "' OR 1=1 --", "env_" + "0" * 26):
        answer = (await plane.ask(**ISSUE, cosignerEnvelopeId=ident)).json()
        assert (answer["decision"], answer["reason"]) == ("deny", "approval_not_found")


@pytest.mark.parametrize("what", ["agent", "app", "envelope"])
async def test_revocation_is_checked_before_policy(plane: Plane, agent: str, what: str) -> None:
    lead = await operator(plane, "lead")
    question = {**ISSUE, "agentDid": agent}
    envelope = await approved(plane, lead, **question)
    named = {"agent": agent, "app": plane.app, "envelope": envelope}
    await store_access.revoke(plane.system.store, DEFAULT, [named[what]])
    answer = (await plane.ask(**question, cosignerEnvelopeId=envelope)).json()
    assert (answer["decision"], answer["reason"]) == ("deny", "revoked")
    reads = (await plane.ask(agentDid=agent)).json()
    if what == "envelope":
        assert reads["decision"] == "allow"
        assert (await seen(plane, envelope))["state"] == "denied"
        assert await asked(plane, **question) != envelope
    else:
        assert reads["reason"] == "revoked"


async def test_a_revoked_question_can_not_be_approved(plane: Plane) -> None:
    lead = await operator(plane, "lead")
    envelope = await asked(plane, **ISSUE)
    await store_access.revoke(plane.system.store, DEFAULT, [envelope])
    reply = await decide(plane, lead, envelope)
    assert (reply.status_code, reply.json()["error_code"]) == (409, "already_decided")
    assert "revoked" in reply.json()["error"]


async def test_a_repetition_gets_the_same_allow_and_uses_nothing_twice(
    plane: Plane, agent: str
) -> None:
    lead = await operator(plane, "lead")
    envelope = await approved(plane, lead, **ISSUE, agentDid=agent)
    named = {**ISSUE, "agentDid": agent, "cosignerEnvelopeId": envelope}
    key = {"idempotency-key": "retry"}
    replies = await asyncio.gather(*(plane.ask(key, **named) for _ in range(10)))
    assert {reply.json()["decision"] for reply in replies} == {"allow"}
    assert len({reply.json()["chain"][0] for reply in replies}) == 1
    other = await plane.ask({"idempotency-key": "another"}, **named)
    assert other.json()["reason"] == "approval_already_used"
    await store_access.revoke(plane.system.store, DEFAULT, [envelope])
    assert (await plane.ask(key, **named)).json()["reason"] == "revoked"


async def test_a_repetition_of_a_question_gets_the_same_answer(plane: Plane) -> None:
    key = {"idempotency-key": "ask"}
    first = (await plane.ask(key, **ISSUE)).json()
    assert first == (await plane.ask(key, **ISSUE)).json()
    assert len(await plane.receipts()) == 1


async def test_every_act_is_recorded(plane: Plane, agent: str) -> None:
    lead = await operator(plane, "lead")
    question = {**ISSUE, "agentDid": agent}
    secret = f"gh{'p'}_{'a' * 36}"
    first = (await plane.ask(**question)).json()
    envelope = first["approvalEnvelopeId"]
    await decide(plane, lead, envelope, reason=f"fine, use {secret}")
    second = (await plane.ask(**question, cosignerEnvelopeId=envelope)).json()
    await plane.ask(**{**question, "ttlSeconds": 5}, cosignerEnvelopeId=envelope)
    refused, allow, vote, put = await plane.receipts()
    assert (put.id, put.kind, put.decision) == (first["receiptId"], "decision", "requires_step_up")
    assert (put.reason, put.envelope, put.parent) == ("step_up_required", envelope, None)
    assert (vote.kind, vote.act, vote.actor) == ("approval", "approve", lead["x-app"])
    assert (vote.envelope, vote.parent, vote.app) == (envelope, put.id, plane.app)
    assert vote.detail == {
        "roles": ["lead"],
        "reason": "fine, use [REDACTED:github_pat]",
        "state": "approved",
        "version": (await seen(plane, envelope))["version"],
    }
    assert (allow.id, allow.decision, allow.envelope) == (second["receiptId"], "allow", envelope)
    assert allow.parent == put.id
    assert allow.cid is not None
    assert (refused.reason, refused.envelope) == ("approval_mismatch", envelope)
    assert (refused.parent, refused.detail) == (put.id, {"fields": ["ttlSeconds"]})
    view = await seen(plane, envelope)
    assert secret not in str(view)


async def test_the_queue_lists_approvals_by_state(plane: Plane) -> None:
    lead = await operator(plane, "lead")
    first = await asked(plane, **ISSUE)
    plane.clock.now += 1
    second = await asked(plane, **{**ISSUE, "args": {"title": "two"}})
    plane.clock.now += 1
    third = await asked(plane, **DELETE)
    await decide(plane, lead, first)
    await decide(plane, lead, second, approve=False)

    async def ids(**query: Any) -> list[str]:
        reply = await plane.client.get("/v1/approvals", params=query, headers=lead)
        assert ApprovalsReply.model_validate(reply.json())
        return [view["id"] for view in reply.json()["approvals"]]

    assert await ids() == [third]
    assert await ids(state="approved") == [first]
    assert await ids(state="denied") == [second]
    assert await ids(state="consumed") == []
    assert await ids(state="all", limit=2) == [third, second]
    plane.clock.now += LIFE_SECONDS
    assert await ids() == []
    assert await ids(state="expired") == [third, first]


@pytest.mark.parametrize(
    "query", ["state=open", "limit=0", "limit=201", "limit=x", "all=1", "state=all&state=all"]
)
async def test_an_invalid_query_names_its_parameter(plane: Plane, query: str) -> None:
    reply = await plane.client.get(f"/v1/approvals?{query}", headers=await operator(plane))
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_request")
    assert reply.json()["fields"] == [query.partition("=")[0]]


async def test_an_agent_sees_only_its_apps_questions(plane: Plane) -> None:
    envelope = await asked(plane, **ISSUE)
    other = await plane.another()
    for ident in (envelope, "env_1"):
        reply = await plane.client.get(f"/v1/approvals/{ident}", headers=other)
        assert (reply.status_code, reply.json()["error_code"]) == (404, "not_found")
    for role in ("auditor", "agent"):
        reply = await plane.client.get("/v1/approvals", headers=await plane.another(role))
        assert reply.status_code == 403


# Waiting


async def test_a_long_poll_returns_at_the_decision(plane: Plane) -> None:
    lead = await operator(plane, "lead")
    envelope = await asked(plane, **ISSUE)
    began = time.monotonic()
    waiting = asyncio.create_task(seen(plane, envelope, wait=25))
    await asyncio.sleep(0.2)
    await decide(plane, lead, envelope)
    assert (await waiting)["state"] == "approved"
    assert time.monotonic() - began < 0.8


async def test_a_long_poll_returns_at_another_processs_decision(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bell does not ring here."""

    def silent(self: Notifier, topic: str) -> None:
        pass

    lead = await operator(plane, "lead")
    envelope = await asked(plane, **ISSUE)
    waiting = asyncio.create_task(seen(plane, envelope, wait=25))
    await asyncio.sleep(0.1)
    monkeypatch.setattr(Notifier, "notify", silent)
    await decide(plane, lead, envelope)
    assert (await waiting)["state"] == "approved"


async def test_a_long_poll_ends_after_its_wait(plane: Plane) -> None:
    envelope = await asked(plane, **ISSUE)
    began = time.monotonic()
    assert (await seen(plane, envelope, wait=1))["state"] == "pending"
    assert 0.9 < time.monotonic() - began < 3


async def test_the_number_of_long_polls_is_bounded(plane: Plane) -> None:
    envelope = await asked(plane, **ISSUE)
    lead = await operator(plane, "lead")
    waiting = [asyncio.create_task(seen(plane, envelope, wait=25)) for _ in range(MOST_OF_ONE_APP)]
    seats = plane.system._context.waiting
    for _ in range(2000):
        if seats.gate.held == MOST_OF_ONE_APP:
            break
        await asyncio.sleep(0.01)
    reply = await plane.client.get(f"/v1/approvals/{envelope}", params={"wait": 1})
    assert (reply.status_code, reply.json()["error_code"]) == (429, "rate_limited")
    assert reply.headers["retry-after"] == "5"
    assert (await seen(plane, envelope))["state"] == "pending"
    path, wait = f"/v1/approvals/{envelope}", {"wait": 1}
    assert (await plane.client.get(path, params=wait, headers=lead)).status_code == 200
    await decide(plane, lead, envelope)
    assert {view["state"] for view in await asyncio.gather(*waiting)} == {"approved"}


def test_some_long_polls_are_reserved_for_operators() -> None:
    room = LongPollLimiter()
    with ExitStack() as taken:
        for number in range(MAX_LONG_POLLS - RESERVED):
            taken.enter_context(room.one(f"app_{number // MOST_OF_ONE_APP}"))
        with pytest.raises(ControlError, match="too many"):
            taken.enter_context(room.one("app_new"))
        for number in range(RESERVED):
            taken.enter_context(room.one(f"op_{number // MOST_OF_ONE_APP}", reserved=True))
        with pytest.raises(ControlError, match="too many"):
            taken.enter_context(room.one("op_new", reserved=True))
    with room.one("app_new"):
        pass


async def test_an_operator_can_long_poll_when_agents_have_used_theirs(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_LONG_POLLS", RESERVED)
    envelope = await asked(plane, **ISSUE)
    lead = await operator(plane, "lead")
    path, wait = f"/v1/approvals/{envelope}", {"wait": 1}
    assert (await plane.client.get(path, params=wait)).status_code == 429
    assert (await plane.client.get(path, params=wait, headers=lead)).status_code == 200


@pytest.mark.parametrize("wait", ["26", "-1", "1.5", "x", "", "²"])
async def test_a_wait_is_a_number_of_seconds(plane: Plane, wait: str) -> None:
    envelope = await asked(plane, **ISSUE)
    reply = await plane.client.get(f"/v1/approvals/{envelope}", params={"wait": wait})
    assert (reply.status_code, reply.json().get("fields")) == (400, ["wait"])


async def test_policy_sets_the_lifetime_of_a_question(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, agent: str
) -> None:
    slow = POLICY.replace('@id("one")', '@id("one") @expires("2h")')
    both = slow.replace('@id("two")', '@id("two") @expires("3m")')
    for number, (policy, seconds) in enumerate(((slow, 7200), (both, 180))):
        async with open_plane(tmp_path / str(number), signer, policy=policy) as plane:
            question = {**ISSUE, "command": "/github/repo/delete", "args": ..., "agentDid": agent}
            envelope = await asked(plane, **question)
            plane.clock.now += seconds - 1
            assert (await seen(plane, envelope))["state"] == "pending"
            plane.clock.now += 1
            assert (await seen(plane, envelope))["state"] == "expired"
