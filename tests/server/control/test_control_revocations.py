"""Revocations, the permission for them, and the feed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
import store_access
from server.control.people import decide

from nomos._core.feed_state import FeedState, advance
from nomos._io.signer import AsyncSigner
from nomos._protocol import (
    Answer,
    Checkpoint,
    CheckpointVerified,
    Refused,
    Request,
    SignCheckpoint,
    VerifyCheckpoint,
)
from nomos.errors import SignerError
from nomos.server.control.feed import PAGE
from nomos.server.control.feed_subscribers import MOST_OF_ONE_APP, FeedSubscribers
from nomos.server.control.services import MAX_SERVICES
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from server.control.conftest import OpenPlane, Plane

    from nomos.audit.record import Record

pytestmark = pytest.mark.anyio

URL = "/v1/revocations"
PR = {
    "command": "/github/pr/create",
    "args": {"title": "Fix", "head": "fix", "base": "main"},
}


async def revoke(
    plane: Plane, headers: Mapping[str, str] | None, ident: object, **more: Any
) -> httpx.Response:
    return await plane.client.post(URL, json={"id": ident, **more}, headers=headers)


async def feed(plane: Plane, **query: object) -> dict[str, Any]:
    reply = await plane.client.get(URL, params={k: str(v) for k, v in query.items()})
    assert reply.status_code == 200, reply.text
    read: dict[str, Any] = reply.json()
    return read


async def cid_of(plane: Plane, headers: Mapping[str, str] | None = None, **more: Any) -> str:
    """A grant's delegation, as its receipt names it."""
    reply = (await plane.ask(headers, **more)).json()
    record = await store_access.receipt(plane.system.store, DEFAULT, reply["receiptId"])
    assert record is not None
    assert record.cid is not None
    return record.cid


async def revocations(plane: Plane) -> list[Record]:
    return [row for row in await plane.receipts() if row.kind == "revocation"]


async def verified(signer: AsyncSigner, token: str, issuer: str) -> Checkpoint:
    answer = await signer.ask(VerifyCheckpoint(token=token, issuers=[issuer]))
    assert isinstance(answer, CheckpointVerified), answer
    return answer.checkpoint


def result_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error_code"]


# What can be revoked


async def test_a_delegation_is_revoked(plane: Plane) -> None:
    operator, cid = await plane.another("operator"), await cid_of(plane)
    reply = await revoke(plane, operator, cid, reason="its agent was stolen")
    assert reply.json() == {
        "id": cid,
        "kind": "cid",
        "known": True,
        "seq": 1,
        "at": "2027-01-15T08:00:00.000Z",
        "alreadyRevoked": False,
    }
    assert await plane.system.store.revoked([cid, "other"]) == {cid}


async def test_an_agent_is_revoked(plane: Plane, agent: str) -> None:
    operator = await plane.another("operator")
    assert (await revoke(plane, operator, agent)).json()["kind"] == "agent"


async def test_a_revoked_app_is_disabled(plane: Plane) -> None:
    operator = await plane.another("operator")
    assert (await plane.ask()).status_code == 200
    assert (await revoke(plane, operator, plane.app)).json()["kind"] == "app"
    assert result_of(await plane.ask()) == (403, "app_disabled")


async def test_a_revoked_envelope_cannot_be_approved(plane: Plane) -> None:
    operator = await plane.another("operator")
    envelope = (await plane.ask(**PR)).json()["approvalEnvelopeId"]
    assert (await revoke(plane, operator, envelope)).json()["kind"] == "envelope"
    reply = await decide(plane, operator, envelope)
    assert result_of(reply) == (409, "already_decided")
    reply = await plane.ask(**PR, cosignerEnvelopeId=envelope)
    assert reply.json()["decision"] != "allow"


async def test_an_issuer_key_is_revoked_once_another_signs(plane: Plane) -> None:
    operator, first = await plane.another("operator"), plane.system.issuer_did
    refused = await revoke(plane, operator, first)
    assert result_of(refused) == (400, "invalid_request")
    assert "nomos keys rotate" in refused.json()["error"]
    assert await plane.system.store.revoked([first]) == frozenset()
    assert await revocations(plane) == []

    assert (
        await plane.client.post("/v1/keys/rotate", json={}, headers=operator)
    ).status_code == 200
    assert plane.system.issuer_did != first
    assert (await revoke(plane, operator, first)).json()["kind"] == "issuer"
    known = (await plane.client.get("/.well-known/nomos")).json()
    assert {each["did"]: each["state"] for each in known["issuers"]}[first] == "revoked"


async def test_revoking_again_changes_nothing(plane: Plane, agent: str) -> None:
    operator = await plane.another("operator")
    first = (await revoke(plane, operator, agent)).json()
    plane.clock.now += 100
    again = (await revoke(plane, operator, agent, reason="to be sure")).json()
    assert again == {**first, "alreadyRevoked": True}
    assert len(await revocations(plane)) == 1
    assert (await feed(plane))["head"]["seq"] == 1


async def test_concurrent_revocations_are_one(plane: Plane, agent: str) -> None:
    operator = await plane.another("operator")
    replies = await asyncio.gather(*(revoke(plane, operator, agent) for _ in range(8)))
    assert sorted(reply.json()["alreadyRevoked"] for reply in replies) == [False] + [True] * 7
    assert {reply.json()["seq"] for reply in replies} == {1}


async def test_a_revocation_is_recorded_with_actor_and_reason(plane: Plane, agent: str) -> None:
    operator = await plane.another("operator")
    secret = "ghp_" + "A1b2C3d4" * 5
    await revoke(plane, operator, agent, reason=f"found {secret} in its log")
    (record,) = await revocations(plane)
    app = operator["authorization"].removeprefix("Bearer nomos_").rsplit("_", 1)[0]
    assert (record.actor, record.act, record.agent) == (app, "revoke", agent)
    assert {k: record.detail[k] for k in ("id", "kind", "seq")} == {
        "id": agent,
        "kind": "agent",
        "seq": 1,
    }
    assert "found" in record.detail["reason"]
    assert secret not in str(record)


# What an app may revoke by itself


async def test_an_app_revokes_its_own(plane: Plane, agent: str) -> None:
    cid = await cid_of(plane, agentDid=agent)
    envelope = (await plane.ask(**PR)).json()["approvalEnvelopeId"]
    for ident in (cid, envelope):
        assert (await revoke(plane, None, ident)).status_code == 200
    assert result_of(await revoke(plane, None, agent)) == (404, "not_found")
    assert {record.app for record in await revocations(plane)} == {plane.app}


async def test_an_app_revokes_nothing_of_others(plane: Plane, agent: str) -> None:
    """The reply does not show which objects exist."""
    other = await plane.another("agent")
    cid = await cid_of(plane, agentDid=agent)
    envelope = (await plane.ask(**PR)).json()["approvalEnvelopeId"]
    for ident in (cid, envelope, agent, plane.app, "0" * 64, plane.system.pdp_did):
        assert result_of(await revoke(plane, other, ident)) == (404, "not_found"), ident
    assert result_of(await revoke(plane, None, plane.app)) == (404, "not_found")
    assert (await feed(plane))["entries"] == []


async def test_asking_for_an_agent_gives_no_right_to_revoke_it(plane: Plane, agent: str) -> None:
    """A DID is public: any app can ask in its name or include it in a text."""
    other = await plane.another("agent")
    await plane.ask(agentDid=agent)
    await plane.ask(other, purpose=f'"agent":"{agent}"', context={"agent": agent})
    assert result_of(await revoke(plane, other, agent)) == (404, "not_found")
    await plane.ask(other, agentDid=agent)
    assert result_of(await revoke(plane, other, agent)) == (404, "not_found")


async def test_an_app_cannot_revoke_a_shared_key(
    plane: Plane, agent: str, signer: AsyncSigner
) -> None:
    """It asks for no agent by the name of a server's key; a service may be an agent, too."""
    operator = await plane.another("operator")
    old = plane.system.issuer_did
    await plane.client.post("/v1/keys/rotate", json={}, headers=operator)
    service = {"name": "alone", "did": agent, "url": "http://127.0.0.1:8789"}
    await plane.client.post("/v1/services", json=service, headers=operator)
    for did in (old, plane.system.issuer_did, plane.system.pdp_did, agent):
        asked = await plane.ask(agentDid=did)
        assert asked.status_code == (200 if did == agent else 400)
        assert result_of(await revoke(plane, None, did)) == (404, "not_found")
    assert (await feed(plane))["entries"] == []


# What is refused


@pytest.mark.parametrize(
    "ident",
    [
        "",
        "x",
        "0" * 63,
        "0" * 65,
        "A" * 64,
        "did:key:z6Mk",
        "did:web:example.com",
        "app_1",
        "env_" + "0" * 25,
        "evt_" + "0" * 26,
        "0" * 64 + "\n",
        7,
        ["0" * 64],
        {},
    ],
)
async def test_an_id_of_an_unknown_form_is_refused(standing: Plane, ident: object) -> None:
    operator = await standing.another("operator")
    reply = await revoke(standing, operator, ident)
    assert result_of(reply) == (400, "invalid_request")
    assert reply.json()["fields"] == ["id"]


@pytest.mark.parametrize(
    "more", [{"reason": "x" * 281}, {"reason": 7}, {"reason": None}, {"kind": "cid"}], ids=str
)
async def test_unknown_members_are_refused(standing: Plane, more: dict[str, Any]) -> None:
    operator = await standing.another("operator")
    reply = await revoke(standing, operator, "0" * 64, **more)
    assert result_of(reply) == (400, "invalid_request")


@pytest.mark.parametrize("ident", ["app_" + "0" * 26, "env_" + "0" * 26])
async def test_an_object_of_another_tenant_is_not_found(standing: Plane, ident: str) -> None:
    operator = await standing.another("operator")
    assert result_of(await revoke(standing, operator, ident)) == (404, "not_found")


async def test_an_auditor_revokes_nothing(standing: Plane) -> None:
    auditor = await standing.another("auditor")
    assert result_of(await revoke(standing, auditor, "0" * 64)) == (403, "forbidden")


@pytest.mark.parametrize(
    "query",
    [
        "since=-1",
        "since=x",
        "since=1.5",
        "since=9007199254740992",
        "wait=3",
        "wait=-1",
        "nonce=",
        "nonce=" + "x" * 65,
        "nonce=a%20b",
        "since=1&since=2",
        "other=1",
    ],
)
async def test_an_invalid_query_is_refused(standing: Plane, query: str) -> None:
    assert result_of(await standing.client.get(f"{URL}?{query}")) == (400, "invalid_request")


# The feed


async def test_a_follower_reads_it_to_its_end_in_pages(plane: Plane, signer: AsyncSigner) -> None:
    ids = [f"{number:064x}" for number in range(PAGE + 5)]
    await store_access.revoke(plane.system.store, DEFAULT, ids)
    state, pages = FeedState(DEFAULT), 0
    while not pages or not state.complete:
        reply = await feed(plane, since=state.since, nonce=f"page-{pages}")
        said = await verified(signer, reply["checkpoint"], plane.system.issuer_did)
        known = advance(state, reply, said, f"page-{pages}")
        assert isinstance(known, FeedState), known
        state, pages = known, pages + 1
    assert (pages, state.ids) == (2, frozenset(ids))


async def test_an_empty_feed_is_signed_too(standing: Plane, signer: AsyncSigner) -> None:
    reply = await feed(standing, nonce="n")
    said = await verified(signer, reply["checkpoint"], standing.system.issuer_did)
    assert (said.log, said.tenant, said.seq, said.nonce) == ("revocations", DEFAULT, 0, "n")
    assert reply["tenant"] == DEFAULT
    assert reply["issuer"] == standing.system.issuer_did
    assert (reply["entries"], reply["more"]) == ([], False)


async def test_every_role_may_follow(standing: Plane) -> None:
    for role in ("agent", "operator", "auditor"):
        headers = await standing.another(role)
        assert (await standing.client.get(URL, headers=headers)).status_code == 200


async def test_a_long_poll_returns_at_a_revocation(plane: Plane, agent: str) -> None:
    operator = await plane.another("operator")
    waiting = asyncio.create_task(feed(plane, since=0, wait=2))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    began = time.monotonic()
    await revoke(plane, operator, agent)
    reply = await waiting
    assert time.monotonic() - began < 0.9
    assert [entry["row"]["id"] for entry in reply["entries"]] == [agent]


async def test_a_long_poll_without_news_ends_within_two_seconds(standing: Plane) -> None:
    began = time.monotonic()
    reply = await feed(standing, wait=1, nonce="n")
    assert 0.9 < time.monotonic() - began < 1.9
    assert reply["entries"] == []


async def test_a_request_with_unread_rows_returns_at_once(plane: Plane) -> None:
    await store_access.revoke(plane.system.store, DEFAULT, ["0" * 64])
    began = time.monotonic()
    assert len((await feed(plane, since=0, wait=2))["entries"]) == 1
    assert time.monotonic() - began < 0.9


async def test_the_number_of_long_polls_of_an_app_is_bounded(plane: Plane) -> None:
    """The others are answered all the same, at once."""
    asked = [asyncio.create_task(feed(plane, wait=2)) for _ in range(MOST_OF_ONE_APP + 3)]
    done, waiting = await asyncio.wait(asked, timeout=1.2)
    assert (len(done), len(waiting)) == (3, MOST_OF_ONE_APP)
    await store_access.revoke(plane.system.store, DEFAULT, ["0" * 64])
    await asyncio.wait(waiting)


def test_finished_long_polls_free_their_place() -> None:
    followers = FeedSubscribers()
    for _ in range(3 * MOST_OF_ONE_APP):
        with followers.admit("app") as room:
            assert room
    with followers.admit("app"), pytest.raises(KeyError), followers.admit("app"):
        raise KeyError
    assert followers._waiting.held == 0


async def test_a_nonce_gets_a_checkpoint_of_its_own_and_others_share_one(plane: Plane) -> None:
    async def checkpoint(**query: object) -> str:
        return str((await feed(plane, **query))["checkpoint"])

    shared = await checkpoint()
    assert await checkpoint(nonce="a") != await checkpoint(nonce="b")
    plane.clock.now += 0.9
    assert await checkpoint() == shared
    plane.clock.now += 0.2
    assert await checkpoint() != shared


async def test_a_shared_checkpoint_is_of_the_current_log(plane: Plane, signer: AsyncSigner) -> None:
    operator = await plane.another("operator")
    await feed(plane)
    await store_access.revoke(plane.system.store, DEFAULT, ["0" * 64])
    reply = await feed(plane)
    issuer = plane.system.issuer_did
    assert (await verified(signer, reply["checkpoint"], issuer)).seq == 1
    await plane.client.post("/v1/keys/rotate", json={}, headers=operator)
    reply = await feed(plane)
    assert reply["issuer"] == plane.system.issuer_did != issuer
    await verified(signer, reply["checkpoint"], plane.system.issuer_did)


async def test_without_a_checkpoint_the_feed_is_unavailable(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    """An unsigned feed proves nothing."""

    class Unsigning:
        answer: Refused | None = None

        async def ask(self, request: Request) -> Answer | Refused:
            if isinstance(request, SignCheckpoint) and request.payload.log == "revocations":
                if self.answer is None:
                    raise SignerError("it has died")
                return self.answer
            return await signer.ask(request)

    unsigning = Unsigning()
    async with open_plane(tmp_path / "data", unsigning) as plane:
        for unsigning.answer in (None, Refused(code="unknown_key", message="forgotten")):
            assert result_of(await plane.client.get(URL)) == (503, "unavailable")


# Services that accept grants


async def test_the_issuer_is_refused_as_a_service(plane: Plane) -> None:
    """Its DID as an audience would protect it from being revoked."""
    operator = await plane.another("operator")
    service = {"name": "alone", "did": plane.system.issuer_did, "url": "https://x.example"}
    refused = await plane.client.post("/v1/services", json=service, headers=operator)
    assert (refused.status_code, refused.json()["fields"]) == (400, ["did"])
    assert "issuer of this server's own tokens" in refused.json()["error"]


async def test_a_registered_service_may_be_the_audience(plane: Plane, agent: str) -> None:
    operator = await plane.another("operator")
    service = {"name": "alone", "did": agent, "url": "http://127.0.0.1:8789"}
    assert result_of(await plane.ask(audience=agent)) == (400, "invalid_request")
    made = await plane.client.post("/v1/services", json=service, headers=operator)
    assert made.status_code == 200, made.text
    added = {"decides": False, "createdAt": "2027-01-15T08:00:00.000Z"}
    assert made.json() == {**service, **added}
    reply = (await plane.ask(audience=agent)).json()
    assert reply["audience"] == agent
    assert plane.payload(reply["ucan"])["aud"] == agent

    again = await plane.client.post("/v1/services", json=service, headers=operator)
    assert again.json() == made.json()
    listed = await plane.client.get("/v1/services", headers=operator)
    assert listed.json() == {"services": [made.json()], "damaged": []}
    known = (await plane.client.get("/.well-known/nomos")).json()["services"]
    assert {each["name"]: each["did"] for each in known} == {
        "pdp": plane.system.pdp_did,
        "alone": agent,
    }
    (record,) = [row for row in await plane.receipts() if row.act == "register_service"]
    assert record.detail["did"] == agent


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "pdp"}, "name"),
        ({"name": "A"}, "name"),
        ({"name": ""}, "name"),
        ({"did": "did:web:x"}, "did"),
        ({"url": "ftp://x"}, "url"),
        ({"url": "http://user@x"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://x:99999"}, "url"),
        ({"url": "http://" + "x" * 512}, "url"),
        ({"url": "http://x\n"}, "url"),
        ({"more": 1}, "more"),
    ],
    ids=str,
)
async def test_an_invalid_service_is_refused(
    standing: Plane, agent: str, change: dict[str, Any], field: str
) -> None:
    operator = await standing.another("operator")
    service = {"name": "x", "did": agent, "url": "https://x"} | change
    reply = await standing.client.post("/v1/services", json=service, headers=operator)
    assert (*result_of(reply), reply.json()["fields"]) == (400, "invalid_request", [field])


async def test_a_name_and_a_did_are_of_one_service(plane: Plane, agent: str) -> None:
    operator = await plane.another("operator")
    other = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    service = {"name": "x", "did": agent, "url": "https://x"}
    await plane.client.post("/v1/services", json=service, headers=operator)
    for change, field in (({"did": other}, "name"), ({"name": "y"}, "did")):
        reply = await plane.client.post("/v1/services", json=service | change, headers=operator)
        assert (reply.status_code, reply.json()["fields"]) == (400, [field])
    own = service | {"name": "y", "did": plane.system.pdp_did}
    reply = await plane.client.post("/v1/services", json=own, headers=operator)
    assert reply.json()["fields"] == ["did"]


async def test_the_number_of_services_is_bounded(plane: Plane) -> None:
    operator = await plane.another("operator")

    async def add(number: int) -> httpx.Response:
        did = f"did:key:z6Mk{'A' * 42}{'BCDEFGHJK'[number // 8]}{number % 8 + 1}"
        service = {"name": f"s{number}", "did": did, "url": "https://x"}
        return await plane.client.post("/v1/services", json=service, headers=operator)

    replies = [await add(number) for number in range(MAX_SERVICES + 1)]
    assert [reply.status_code for reply in replies] == [200] * MAX_SERVICES + [400]
    assert "64 services, the maximum" in replies[-1].json()["error"]
