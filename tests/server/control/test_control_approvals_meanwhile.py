"""Changes by another process between the lookup of an approval and its use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import store_access
from server.control.people import ISSUE, POLICY, approved, asked, operator, seen

from nomos._io.signer import AsyncSigner
from nomos.server.storage.envelopes import AnswerRecord, Envelopes
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

Meanwhile = Callable[[AnswerRecord], Awaitable[object]]


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


def before_use(patch: pytest.MonkeyPatch, meanwhile: Meanwhile) -> list[str]:
    """Have `meanwhile` come before each use of an approval; return which were tried."""
    use, tried = Envelopes.consume, []

    async def late(self: Envelopes, ident: str, answer_record: AnswerRecord, subjects: Any) -> Any:
        tried.append(ident)
        await meanwhile(answer_record)
        return await use(self, ident, answer_record, subjects)

    patch.setattr(Envelopes, "consume", late)
    return tried


async def test_an_approval_used_meanwhile_is_not_used_again(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope = await approved(plane, await operator(plane, "lead"), **ISSUE)
    use = Envelopes.consume

    async def first(answer_record: AnswerRecord) -> None:
        if len(tried) == 1:
            record, stored = replace(answer_record.record, id="evt_other"), answer_record.stored
            await use(plane.system.store.envelopes, envelope, AnswerRecord(record, stored), ())

    tried = before_use(monkeypatch, first)
    answer = (await plane.ask(**ISSUE, cosignerEnvelopeId=envelope)).json()
    assert (answer["decision"], answer["reason"]) == ("deny", "approval_already_used")
    assert tried == [envelope]


async def test_an_approval_revoked_meanwhile_is_not_used(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope = await approved(plane, await operator(plane, "lead"), **ISSUE)

    async def revoke(answer_record: AnswerRecord) -> None:
        await store_access.revoke(plane.system.store, DEFAULT, [envelope])

    before_use(monkeypatch, revoke)
    answer = (await plane.ask(**ISSUE, cosignerEnvelopeId=envelope)).json()
    assert (answer["decision"], answer["reason"]) == ("deny", "revoked")


async def test_an_agent_revoked_meanwhile_gets_no_allow(
    plane: Plane, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The envelope looks as before, so the question is given up, and asked again is denied."""
    question = {**ISSUE, "agentDid": agent}
    envelope = await approved(plane, await operator(plane, "lead"), **question)

    async def revoke(answer_record: AnswerRecord) -> None:
        await store_access.revoke(plane.system.store, DEFAULT, [agent])

    tried = before_use(monkeypatch, revoke)
    reply = await plane.ask(**question, cosignerEnvelopeId=envelope)
    assert (reply.status_code, reply.json()["error_code"]) == (503, "unavailable")
    assert len(tried) > 1
    again = (await plane.ask(**question, cosignerEnvelopeId=envelope)).json()
    assert again["reason"] == "revoked"
    assert (await seen(plane, envelope))["state"] == "approved"


@pytest.mark.parametrize("named", [True, False])
async def test_an_idempotency_key_answered_meanwhile_gets_that_answer(
    plane: Plane,
    monkeypatch: pytest.MonkeyPatch,
    named: bool,  # noqa: FBT001 (a table)
) -> None:
    """By another process: the turns of this one do not know of it."""
    lead = await operator(plane, "lead")
    envelope = await (approved(plane, lead, **ISSUE) if named else asked(plane, **ISSUE))
    body = {**ISSUE, "cosignerEnvelopeId": envelope} if named else ISSUE
    key = {"idempotency-key": "k"}
    first = (await plane.ask(key, **body)).json()

    async def nothing(app: str, key: str, ids: object) -> tuple[None, frozenset[str]]:
        return None, frozenset()

    monkeypatch.setattr(plane.system.store, "prior", nothing)
    if named:
        # As it was before the other process used it.
        found = await plane.system.store.envelopes.find(DEFAULT, envelope)
        assert found is not None

        async def before(self: Envelopes, tenant: str, ident: str) -> Any:
            return replace(found, state="approved", consumed_at=None)

        monkeypatch.setattr(Envelopes, "find", before)
    second = (await plane.ask(key, **body)).json()
    assert second == first
    receipts = [each.id for each in await plane.receipts() if each.kind == "decision"]
    assert receipts.count(first["receiptId"]) == 1
    assert len(receipts) == 2
