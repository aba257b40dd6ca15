"""A repeated question: the same answer, one receipt, and never a stale allow."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import store_access

from nomos._io.signer import AsyncSigner
from nomos.server.control.context import Context

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

KEY = {"idempotency-key": "call-1"}
DAY = 24 * 3600
ARCHIVE = {"provider": "github", "owner": "acme", "repo": "archive"}


def stored(reply: Any) -> dict[str, Any]:
    """The answer without the time of the reply."""
    answer: dict[str, Any] = reply.json()
    del answer["serverTime"]
    return answer


async def test_the_same_key_and_body_get_the_same_answer_and_one_receipt(
    plane: Plane, agent: str
) -> None:
    first = await plane.ask(KEY, agentDid=agent)
    plane.clock.now += 10
    second = await plane.ask(KEY, agentDid=agent)
    assert stored(first) == stored(second)
    assert second.json()["serverTime"] == "2027-01-15T08:00:10.000Z"
    assert len(await plane.receipts()) == 1


async def test_an_invocation_is_signed_again_and_is_the_same_token(plane: Plane) -> None:
    """A bearer token is not kept in the database."""
    first = (await plane.ask(KEY, args={"state": "open"})).json()
    plane.clock.now += 10
    second = (await plane.ask(KEY, args={"state": "open"})).json()
    assert first["ucan"] == second["ucan"]
    kept = (await plane.system.store.prior(plane.app, "call-1", ()))[0]
    assert kept is not None
    assert "ucan" not in kept.answer


async def test_a_deny_is_repeated_too(plane: Plane) -> None:
    first = await plane.ask(KEY, resource=ARCHIVE)
    assert first.json()["decision"] == "deny"
    assert stored(await plane.ask(KEY, resource=ARCHIVE)) == stored(first)
    assert len(await plane.receipts()) == 1


async def test_the_order_of_members_does_not_make_another_body(plane: Plane) -> None:
    body = b'{"command": "/github/issue/list", "resource": {"provider": "github", %s}}'
    answers = [
        await plane.client.post("/v1/authorize", content=body % fields, headers=KEY)
        for fields in (b'"owner": "acme", "repo": "app"', b'"repo":"app","owner":"acme"')
    ]
    assert stored(answers[0]) == stored(answers[1])


async def test_the_same_key_with_another_body_is_a_conflict(plane: Plane) -> None:
    await plane.ask(KEY)
    reply = await plane.ask(KEY, ttlSeconds=60)
    assert (reply.status_code, reply.json()["error_code"]) == (409, "idempotency_conflict")
    assert "use a new key" in reply.json()["error"]
    assert len(await plane.receipts()) == 1


async def test_another_app_may_use_the_same_key(plane: Plane) -> None:
    first = await plane.ask(KEY)
    second = await plane.ask({**KEY, **(await plane.another())}, ttlSeconds=60)
    assert first.json()["receiptId"] != second.json()["receiptId"]


async def test_a_refused_question_does_not_use_its_key_up(plane: Plane) -> None:
    assert (await plane.ask(KEY, ttlSeconds=0)).status_code == 400
    assert (await plane.ask(KEY)).json()["decision"] == "allow"


async def test_an_expired_allow_is_not_repeated(plane: Plane) -> None:
    first = (await plane.ask(KEY, ttlSeconds=60)).json()
    plane.clock.now += 59
    assert (await plane.ask(KEY, ttlSeconds=60)).json()["decision"] == "allow"
    plane.clock.now += 1
    answer = (await plane.ask(KEY, ttlSeconds=60)).json()
    assert (answer["decision"], answer["reason"]) == ("deny", "expired")
    assert answer["receiptId"] == first["receiptId"]
    assert "use a new key" in answer["explanation"]["message"]
    assert not {"chain", "ucan", "expiresAt"} & set(answer)


@pytest.mark.parametrize("what", ["delegation", "agent"])
async def test_a_revoked_allow_is_not_repeated(plane: Plane, agent: str, what: str) -> None:
    first = (await plane.ask(KEY, agentDid=agent)).json()
    [receipt] = await plane.receipts()
    assert receipt.cid is not None
    await store_access.revoke(
        plane.system.store, "default", [receipt.cid if what == "delegation" else agent]
    )
    answer = (await plane.ask(KEY, agentDid=agent)).json()
    assert (answer["decision"], answer["reason"]) == ("deny", "revoked")
    assert answer["receiptId"] == first["receiptId"]
    assert "chain" not in answer


async def test_a_key_is_kept_for_a_day(plane: Plane) -> None:
    denied = {"resource": ARCHIVE}
    first = (await plane.ask(KEY, **denied)).json()
    plane.clock.now += DAY - 1
    assert (await plane.ask(KEY, **denied)).json()["receiptId"] == first["receiptId"]
    plane.clock.now += 1
    second = (await plane.ask(KEY, **denied)).json()
    assert second["receiptId"] != first["receiptId"]
    assert (await plane.ask(KEY, **denied)).json()["receiptId"] == second["receiptId"]


async def test_twenty_concurrent_requests_are_one_decision(plane: Plane, agent: str) -> None:
    replies = await asyncio.gather(*(plane.ask(KEY, agentDid=agent) for _ in range(20)))
    assert len({reply.json()["chain"][0] for reply in replies}) == 1
    assert len(await plane.receipts()) == 1


async def test_one_of_several_replicas_decides(
    plane: Plane, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the turns that one process takes, the database still lets one answer be kept."""
    monkeypatch.setattr(Context, "idempotency_lock", lambda *_: asyncio.Lock())
    replies = await asyncio.gather(*(plane.ask(KEY, agentDid=agent) for _ in range(20)))
    assert len({reply.json()["chain"][0] for reply in replies}) == 1
    assert len(await plane.receipts()) == 1


async def test_one_of_several_concurrent_bodies_is_accepted(plane: Plane) -> None:
    replies = await asyncio.gather(*(plane.ask(KEY, ttlSeconds=n) for n in range(60, 70)))
    assert sorted(reply.status_code for reply in replies) == [200] + [409] * 9
    assert len(await plane.receipts()) == 1


async def test_an_answer_is_repeated_after_a_restart(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    async with open_plane(tmp_path / "data", signer) as plane:
        first = await plane.ask(KEY)
    async with open_plane(tmp_path / "data", signer, key=plane.key) as plane:
        assert stored(await plane.ask(KEY)) == stored(first)
        assert len(await plane.receipts()) == 1


async def test_without_a_key_each_question_is_a_new_one(plane: Plane) -> None:
    replies = [await plane.ask() for _ in range(2)]
    assert len({reply.json()["receiptId"] for reply in replies}) == 2
