"""The flows of revocations and receipts, with scripted effects."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from nomos._core import records
from nomos._core.effects import ChildCredential, Flow, HttpReply, Pause, Send
from nomos._sealed import make
from nomos.errors import InvalidRequest, InvalidResponse, NotFound, Unreachable
from nomos.models import GrantBase, ParentChain, chain_of

CID = "ab" * 32
DID = "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"
NO_PAUSES = (0.0, 0.0)


def reply(body: object, status: int = 200) -> HttpReply:
    return HttpReply(status, {}, json.dumps(body).encode(), 0.0)


def answered(flow: Flow[Any], body: object, status: int = 200) -> Any:
    assert isinstance(next(flow), Send)
    with pytest.raises(StopIteration) as stop:
        flow.send(reply(body, status))
    return stop.value.value


def revoked(**changes: Any) -> dict[str, Any]:
    at = "2026-09-21T14:13:20.000Z"
    revocation_body = {"id": CID, "kind": "delegation", "seq": 4, "at": at, "alreadyRevoked": False}
    return revocation_body | changes


def revoke(target: str = CID, reason: str | None = None) -> Flow[Any]:
    return records.revoke(records.RevocationTarget(target), reason=reason, pauses=NO_PAUSES)


def test_a_revocation_is_sent_with_its_reason_and_returned_with_its_number() -> None:
    flow = revoke(reason="leaked")
    send = next(flow)
    assert isinstance(send, Send)
    assert (send.method, send.path) == ("POST", "/v1/revocations")
    assert json.loads(send.body) == {"id": CID, "reason": "leaked"}
    revocation = answered(revoke(), revoked())
    assert (revocation.id, revocation.kind, revocation.seq) == (CID, "delegation", 4)
    assert revocation.at == datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
    assert revocation.already_revoked is False
    assert answered(revoke(), revoked(alreadyRevoked=True)).already_revoked


def test_a_failed_revocation_is_retried() -> None:
    flow = revoke()
    first = next(flow)
    assert isinstance(flow.throw(Unreachable("down")), Pause)
    assert flow.send(None) == first


@pytest.mark.parametrize(
    "wrong", [{"id": "cd" * 32}, {"seq": 0}, {"seq": "4"}, {"at": None}, {"alreadyRevoked": 1}]
)
def test_a_malformed_revocation_reply_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidResponse):
        answered(revoke(), revoked(**wrong))


def test_an_invalid_reason_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="280"):
        next(revoke(reason="x" * 281))


def grant(**members: Any) -> GrantBase:
    fields: dict[str, Any] = {"decision": "allow", "command": "/a/b", "resource": {}}
    return make(GrantBase, **(fields | members))


def test_a_grant_is_revoked_by_the_last_link_it_was_given() -> None:
    chain = chain_of(["a.b.c", "d.e.f"])
    assert only(grant(chain=chain)) == records.RevocationTarget(
        hashlib.sha256(b"d.e.f").hexdigest()
    )


def test_a_question_is_revoked_by_its_id_until_it_has_become_a_delegation() -> None:
    asked = grant(decision="requires_step_up", approval_envelope_id="env_1")
    assert only(asked).id == "env_1"
    given = grant(approval_envelope_id="env_1", chain=chain_of(["a.b.c"]))
    assert only(given).id == hashlib.sha256(b"a.b.c").hexdigest()


@pytest.mark.parametrize("members", [{"decision": "deny"}, {"degraded": True}])
def test_a_grant_without_a_delegation_cannot_be_revoked(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="nothing to revoke") as refused:
        records.named(grant(**members))
    assert refused.value.fields == ("grant_or_id",)


@pytest.mark.parametrize("ident", [CID, DID, "app_01jb", "env_01jb"])
def test_ids_are_revoked_as_they_are(ident: str) -> None:
    assert only(ident) == records.RevocationTarget(ident)


def test_a_chain_is_revoked_by_its_last_link_and_sent_whole() -> None:
    chain = chain_of(["a.b.c", "d.e.f"])
    target = records.RevocationTarget(hashlib.sha256(b"d.e.f").hexdigest(), chain)
    other = records.RevocationTarget(hashlib.sha256(b"a.b.c").hexdigest(), chain[:1])
    for same in (chain, ["a.b.c", "d.e.f"], make(ParentChain, chains=(chain,))):
        assert records.named(same) == (target,)
    assert records.named([chain, chain[:1]]) == (target, other)


def test_a_revocation_of_a_chain_is_sent_with_it_and_signed_on_the_childs_chain() -> None:
    chain = chain_of(["a.b.c", "d.e.f"])
    (target,) = records.named(chain)
    flow = records.revoke(target, reason=None, by=chain[:1], pauses=NO_PAUSES)
    send = next(flow)
    assert isinstance(send, Send)
    assert json.loads(send.body) == {"id": target.id, "chain": ["a.b.c", "d.e.f"]}
    assert send.claim == ChildCredential(chain[:1])


def only(what: object) -> records.RevocationTarget:
    (target,) = records.named(what)
    return target


TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJkaWQ6a2V5In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "what",
    [TOKEN, "", CID.upper(), CID + "\n", "evt_1", "did:web:acme.example", "app_", None, b"x", 5],
)
def test_a_value_without_an_id_is_refused_and_not_repeated(what: Any) -> None:
    with pytest.raises(InvalidRequest, match="revoke takes a grant") as refused:
        records.named(what)
    assert TOKEN not in str(refused.value)


# Receipts

ROW: dict[str, Any] = {
    "v": 1,
    "tenant": "default",
    "seq": 7,
    "prev_hash": "0" * 64,
    "id": "evt_1",
    "kind": "decision",
    "at": 1_790_000_000_123,
    "decision": "deny",
    "reason": "policy_denied",
    "command": "/github/issue/list",
    "resource": {"provider": "github"},
}


def receipt_body(**changes: Any) -> dict[str, Any]:
    body = {"row": ROW, "hash": CID, "checkpoint": TOKEN, "issuer": DID, "keys": [{"row": {}}]}
    return body | changes


def receipt(body: object, status: int = 200) -> Any:
    return answered(records.receipt("evt_1", NO_PAUSES), body, status)


def test_a_receipt_has_the_fields_of_its_record() -> None:
    flow = records.receipt("evt_1", NO_PAUSES)
    send = next(flow)
    assert isinstance(send, Send)
    assert (send.method, send.path) == ("GET", "/v1/receipts/evt_1")
    one = receipt(receipt_body())
    assert (one.id, one.seq, one.kind) == ("evt_1", 7, "decision")
    assert (one.decision, one.reason) == ("deny", "policy_denied")
    assert (one.command, one.resource) == ("/github/issue/list", {"provider": "github"})
    assert one.at == datetime(2026, 9, 21, 14, 13, 20, 123000, tzinfo=UTC)
    assert (one.row, one.keys) == (ROW, ({"row": {}},))
    assert repr(one) == "ReceiptBase('evt_1', seq=7, 'decision deny /github/issue/list')"
    with pytest.raises(TypeError):
        one.row["seq"] = 8


def test_a_record_of_another_kind_has_no_decision() -> None:
    row = {name: ROW[name] for name in ("seq", "id", "at")} | {"kind": "approval"}
    one = receipt(receipt_body(row=row))
    assert (one.kind, one.decision, one.reason, one.command, one.resource) == (
        "approval",
        *(None,) * 4,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"row": None},
        {"row": {}},
        {"row": ROW | {"seq": 0}},
        {"row": ROW | {"at": 10**18}},
        {"row": ROW | {"at": "yesterday"}},
        {"row": ROW | {"id": "evt_2"}},
        {"hash": "x"},
        {"checkpoint": None},
        {"keys": [5]},
        {"keys": [{}] * 1001},
    ],
)
def test_a_malformed_receipt_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidResponse):
        receipt(receipt_body(**wrong))


def test_a_missing_receipt_is_not_found() -> None:
    with pytest.raises(NotFound, match="no receipt"):
        receipt({"error": "there is no receipt evt_1", "error_code": "not_found"}, 404)


@pytest.mark.parametrize("ident", [None, "", "evt_", "env_1", "evt_1/..", "evt_a?b", 5])
def test_an_invalid_receipt_id_is_refused_before_sending(ident: Any) -> None:
    with pytest.raises(InvalidRequest, match="receipt_id"):
        next(records.receipt(ident, NO_PAUSES))
