"""Envelopes in the database: each change is stored as a whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import store_access

from nomos.audit.record import Record
from nomos.server.domain.authorization import StoredAnswer
from nomos.server.domain.envelope import Ballot, Envelope, Vote, VoteError, fingerprint
from nomos.server.storage.approval_lookup import ApprovalLookup
from nomos.server.storage.envelopes import AnswerRecord
from nomos.server.storage.idempotency import KEPT_SECONDS
from nomos.server.storage.store import Store

if TYPE_CHECKING:
    from server.storage.conftest import Clock

pytestmark = pytest.mark.anyio

AT = 1_800_000_000
BOUND: dict[str, Any] = {"agentDid": "did:key:x", "command": "/a/b", "args": None, "context": {}}


def draft(ident: str = "env_1", **changes: Any) -> Envelope:
    made = Envelope(
        id=ident,
        tenant="default",
        app="app_1",
        fingerprint=fingerprint(BOUND),
        bound=BOUND,
        roles=("lead",),
        policies=("p",),
        receipt_id=f"evt_{ident}",
        created_at=AT,
        expires_at=AT + 900,
        askers=("app_1",),
    )
    return replace(made, **changes)


def answer_record(receipt: str, key: str = "", request: str = "a") -> AnswerRecord:
    stored = StoredAnswer(
        "default", "app_1", key, request * 64, receipt, "did:key:x", {"receiptId": receipt}, AT
    )
    return AnswerRecord(Record(receipt, "default", "decision", AT * 1000), stored)


def show(envelope: Envelope, now: int) -> dict[str, Any]:
    return {"id": envelope.id, "state": envelope.state_at(now)}


async def ask(store: Store, envelope: Envelope, key: str = "") -> ApprovalLookup | StoredAnswer:
    return await store.envelopes.ask(
        envelope, lambda _: answer_record(envelope.receipt_id, key), show
    )


def voted(after: Envelope, vote: Vote) -> Record:
    return Record(f"evt_{vote.operator}", "default", "approval", AT * 1000, envelope=after.id)


async def say(store: Store, *, approve: bool) -> Envelope | VoteError | None:
    asked = await store.envelopes.find("default", "env_1")
    version = "0" * 64 if asked is None else asked.version
    ballot = Ballot("app_2", ("*",), approve, version, "because")
    return await store.envelopes.vote("default", "env_1", ballot, voted, show)


async def kept(store: Store) -> list[str]:
    return [record.id for record in await store_access.receipts(store, "default")]


async def test_a_question_is_read_back_equal(store: Store) -> None:
    written = draft(app_name="one", sent={"a": 1}, purpose="to see", reason="policy wants it")
    assert await ask(store, written) == ApprovalLookup("opened", written)
    assert await store.envelopes.find("default", "env_1") == written
    assert await store.envelopes.find("another", "env_1") is None


async def test_an_approval_is_used_once(store: Store, clock: Clock) -> None:
    await ask(store, draft())
    assert await store.envelopes.consume("env_1", answer_record("evt_0"), ()) is False
    await say(store, approve=True)
    clock.now += 10
    assert await store.envelopes.consume("env_1", answer_record("evt_1"), ()) is True
    assert await store.envelopes.consume("env_1", answer_record("evt_2"), ()) is False
    found = await store.envelopes.find("default", "env_1")
    assert found is not None
    assert (found.state, found.consumed_at) == ("consumed", AT + 10)
    assert await kept(store) == ["evt_1", "evt_app_2", "evt_env_1"]


@pytest.mark.parametrize("after", [899, 900])
async def test_an_approval_is_used_by_the_time_of_the_write(
    store: Store, clock: Clock, after: int
) -> None:
    await ask(store, draft())
    await say(store, approve=True)
    clock.now += after
    used = await store.envelopes.consume("env_1", answer_record("evt_1"), ())
    assert used is (after < 900)


@pytest.mark.parametrize("gone", ["env_1", "app_1", "did:key:x"])
async def test_a_revocation_meanwhile_keeps_the_approval_unused(store: Store, gone: str) -> None:
    await ask(store, draft())
    await say(store, approve=True)
    await store_access.revoke(store, "default", [gone])
    assert (
        await store.envelopes.consume("env_1", answer_record("evt_1"), ("app_1", "did:key:x"))
        is False
    )
    found = await store.envelopes.find("default", "env_1")
    assert found is not None
    assert found.state == "approved"
    assert "evt_1" not in await kept(store)


async def test_a_key_answered_meanwhile_keeps_the_approval_unused(store: Store) -> None:
    await ask(store, draft())
    await say(store, approve=True)
    first = answer_record("evt_1", "key")
    await store.record_answer(first.record, first.stored)
    assert await store.envelopes.consume("env_1", answer_record("evt_2", "key"), ()) == first.stored
    found = await store.envelopes.find("default", "env_1")
    assert found is not None
    assert found.state == "approved"
    assert "evt_2" not in await kept(store)


async def test_a_key_that_expires_at_the_write_keeps_the_approval_unused(
    store: Store, clock: Clock
) -> None:
    """The answer of yesterday is one by the time of the question, if not by that of the write."""
    first = answer_record("evt_1", "key")
    await store.record_answer(first.record, first.stored)
    clock.now += KEPT_SECONDS + 5
    await ask(store, draft(expires_at=AT + KEPT_SECONDS + 900))
    await say(store, approve=True)
    late = answer_record("evt_2", "key")
    late = replace(late, stored=replace(late.stored, created_at=AT + 10))
    assert await store.envelopes.consume("env_1", late, ()) == first.stored
    found = await store.envelopes.find("default", "env_1")
    assert found is not None
    assert found.state == "approved"
    assert "evt_2" not in await kept(store)


async def test_a_key_answered_meanwhile_opens_no_question(store: Store) -> None:
    first = answer_record("evt_1", "key")
    await store.record_answer(first.record, first.stored)
    assert await ask(store, draft(), "key") == first.stored
    assert await store.envelopes.find("default", "env_1") is None
    assert await kept(store) == ["evt_1"]


async def test_an_answer_is_kept_with_the_question(store: Store) -> None:
    await ask(store, draft(), "key")
    assert (await store.prior("app_1", "key", ()))[0] == answer_record("evt_env_1", "key").stored


async def test_webhooks_are_queued_for_new_and_decided_questions(
    store: Store,
) -> None:
    store.outbox.wanted = True
    await ask(store, draft())
    await ask(store, draft("env_2"))
    await say(store, approve=False)
    messages = [json.loads(each.body) for each in await store.outbox.due(10, 60)]
    news = {each["event"]: each["approval"] for each in messages}
    assert len(messages) == 2
    assert news == {
        "approval.requested": {"id": "env_1", "state": "pending"},
        "approval.decided": {"id": "env_1", "state": "denied"},
    }


async def test_a_webhook_is_queued_for_additional_roles(store: Store) -> None:
    store.outbox.wanted = True
    await ask(store, draft())
    wider = await ask(store, draft("env_2", roles=("lead", "security")))
    assert isinstance(wider, ApprovalLookup)
    assert (wider.kind, wider.envelope.id) == ("widened", "env_1")
    found = await store.envelopes.find("default", "env_1")
    assert found is not None
    assert found == wider.envelope
    assert found.roles == ("lead", "security")
    assert (await ask(store, draft("env_3", roles=("security",)))).kind == "found"  # type: ignore[union-attr]
    assert len(await store.outbox.due(10, 60)) == 2


@pytest.mark.parametrize(
    ("then", "now", "both"),
    [
        ("leads look", "security looks", "leads look; security looks"),
        ("leads look", "leads look; security looks", "leads look; security looks"),
        ("leads look", None, "leads look"),
        (None, "security looks", "security looks"),
        (None, None, None),
    ],
)
async def test_additional_roles_are_shown_with_their_reason(
    store: Store, then: str | None, now: str | None, both: str | None
) -> None:
    await ask(store, draft(reason=then, purpose="routine", sent={"a": 1}))
    more = {"roles": ("security",), "policies": ("q",), "reason": now, "purpose": "urgent"}
    await ask(store, draft("env_2", sent={"a": 1}, **more))
    found = await store.envelopes.find("default", "env_1")
    assert found is not None
    assert (found.policies, found.reason, found.purpose) == (("p", "q"), both, "urgent")
    assert (found.bound, found.sent) == (BOUND, {"a": 1})


async def test_a_vote_that_does_not_count_stores_nothing(store: Store) -> None:
    store.outbox.wanted = True
    await ask(store, draft())
    without_role = Ballot("app_2", ("intern",), approve=True, version=draft().version)
    refused = await store.envelopes.vote("default", "env_1", without_role, voted, show)
    assert isinstance(refused, VoteError)
    found = await store.envelopes.find("default", "env_1")
    assert found is not None
    assert found.votes == ()
    assert await kept(store) == ["evt_env_1"]
    assert len(await store.outbox.due(10, 60)) == 1


async def test_a_failure_undoes_the_whole_of_it(store: Store) -> None:
    """The record cannot be written: its id is taken."""
    await ask(store, draft())
    await say(store, approve=True)
    with pytest.raises(Exception, match="database failed"):
        await store.envelopes.consume("env_1", answer_record("evt_env_1"), ())
    found = await store.envelopes.find("default", "env_1")
    assert found is not None
    assert found.state == "approved"
    assert await store.envelopes.consume("env_1", answer_record("evt_1"), ()) is True


async def test_an_approval_of_another_tenant_cannot_be_used(store: Store) -> None:
    await ask(store, draft())
    await say(store, approve=True)
    mine = answer_record("evt_1")
    theirs = replace(mine, record=replace(mine.record, tenant="another"))
    assert await store.envelopes.consume("env_1", theirs, ()) is False
