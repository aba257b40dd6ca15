"""A caller that is disabled or revoked while its request's body is read changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from server.control.chain_agents import ChainAgent, cid, new_did
from server.control.conftest import LIST, Plane
from server.control.people import operator

from nomos._io.signer import AsyncSigner
from nomos.server.storage.tenants import DEFAULT

pytestmark = pytest.mark.anyio

Act = Callable[[], Awaitable[httpx.Response]]


async def slowly(
    plane: Plane, path: str, body: dict[str, Any], who: dict[str, str], meanwhile: Act
) -> httpx.Response:
    """Send half of a body, do something else, then send the rest."""
    text = json.dumps(body).encode()

    async def parts() -> AsyncIterator[bytes]:
        yield text[:4]
        assert (await meanwhile()).status_code == 200
        yield text[4:]

    headers = {**who, "content-type": "application/json"}
    return await plane.client.post(path, content=parts(), headers=headers)


@pytest.mark.parametrize("act", ["disable", "rotate"])
async def test_an_operator_disabled_during_the_body_registers_no_account(
    plane: Plane, act: str
) -> None:
    first, other = await operator(plane, "*"), await operator(plane, "*")
    by = first if act == "disable" else other
    before = (await plane.system.store.apps.all(DEFAULT)).found

    async def shut_out() -> httpx.Response:
        return await plane.client.post(f"/v1/apps/{other['x-app']}/{act}", headers=by)

    wanted = {"name": "a way back", "role": "operator", "covers": ["*"]}
    reply = await slowly(plane, "/v1/apps", wanted, other, shut_out)
    assert reply.status_code == (403 if act == "disable" else 401)
    assert len((await plane.system.store.apps.all(DEFAULT)).found) == len(before)


async def test_an_operator_disabled_during_the_body_changes_no_policies(plane: Plane) -> None:
    first, other = await operator(plane, "*"), await operator(plane, "*")

    async def shut_out() -> httpx.Response:
        return await plane.client.post(f"/v1/apps/{other['x-app']}/disable", headers=first)

    sources = {"sources": {"all.cedar": "permit(principal, action, resource);"}}
    reply = await slowly(plane, "/v1/policies", sources, other, shut_out)
    assert (reply.status_code, reply.json()["error_code"]) == (403, "app_disabled")


async def test_an_app_disabled_during_the_body_gets_no_grant(plane: Plane) -> None:
    who = await operator(plane, "*")
    made = await plane.client.post("/v1/apps", json={"name": "bot", "role": "agent"}, headers=who)
    agent = {"authorization": f"Bearer {made.json()['apiKey']}"}

    async def shut_out() -> httpx.Response:
        return await plane.client.post(f"/v1/apps/{made.json()['id']}/disable", headers=who)

    reply = await slowly(plane, "/v1/authorize", dict(LIST), agent, shut_out)
    assert (reply.status_code, reply.json()["error_code"]) == (403, "app_disabled")
    assert not [row for row in await plane.receipts() if row.kind == "decision"]


async def by_chain(
    plane: Plane, signer: AsyncSigner, key: dict[str, str]
) -> tuple[ChainAgent, str]:
    """An agent that was given a chain, and the invocation by which it asks `LIST`."""
    did = await new_did(signer)
    root = ChainAgent(
        plane, signer, did, tuple((await plane.ask(key, agentDid=did)).json()["chain"])
    )
    return root, await root.sign(LIST["command"], {"resource": LIST["resource"]})


async def test_an_app_disabled_during_the_body_gets_no_grant_on_a_chain(
    plane: Plane, signer: AsyncSigner
) -> None:
    who = await operator(plane, "*")
    made = await plane.client.post("/v1/apps", json={"name": "bot", "role": "agent"}, headers=who)
    _, token = await by_chain(plane, signer, {"authorization": f"Bearer {made.json()['apiKey']}"})

    async def shut_out() -> httpx.Response:
        return await plane.client.post(f"/v1/apps/{made.json()['id']}/disable", headers=who)

    agent = {"authorization": f"Bearer {token}"}
    reply = await slowly(plane, "/v1/authorize", dict(LIST), agent, shut_out)
    assert (reply.status_code, reply.json()["error_code"]) == (403, "app_disabled")


async def test_a_chain_revoked_during_the_body_gets_no_grant(
    plane: Plane, signer: AsyncSigner
) -> None:
    who = await operator(plane, "*")
    root, token = await by_chain(plane, signer, {"authorization": f"Bearer {plane.key}"})

    async def revoke() -> httpx.Response:
        wanted = {"id": cid(root.chain[0])}
        return await plane.client.post("/v1/revocations", json=wanted, headers=who)

    agent = {"authorization": f"Bearer {token}"}
    reply = await slowly(plane, "/v1/authorize", dict(LIST), agent, revoke)
    assert (reply.json()["decision"], reply.json()["reason"]) == ("deny", "revoked")
