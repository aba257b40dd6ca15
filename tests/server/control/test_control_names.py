"""Names that an app may not use: other apps' agents, the server's keys, other labels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import store_access
from server.control.conftest import POLICY

from nomos._protocol import GenerateKey, GenerateKeyAnswer
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.control.conftest import OpenPlane, Plane

    from nomos._io.signer import AsyncSigner

pytestmark = pytest.mark.anyio

REPO = {"provider": "github", "owner": "acme", "repo": "app"}
CREW = """
@id("crew") forbid(principal, action == Action::"/github/pr/list", resource is Github)
unless { principal.swarmId like "*/crew" };
"""


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY + CREW) as plane:
        yield plane


async def key(signer: AsyncSigner) -> str:
    answer = await signer.ask(GenerateKey())
    assert isinstance(answer, GenerateKeyAnswer)
    return answer.key


async def test_an_agent_belongs_to_the_first_app_that_names_it(plane: Plane, agent: str) -> None:
    other = await plane.another()
    assert (await plane.ask(agentDid=agent)).json()["decision"] == "allow"
    rows = len(await plane.receipts())
    for question in ({}, {"command": "/github/pr/create"}, {"resource": {"repo": "archive"}}):
        reply = await plane.ask(other, agentDid=agent, **question)
        if reply.status_code != 400:
            assert (reply.status_code, reply.json()["error_code"]) == (403, "forbidden")
            assert reply.json()["fields"] == ["agentDid"]
            assert "a key of its own" in reply.json()["error"]
    assert len(await plane.receipts()) == rows
    assert (await plane.ask(agentDid=agent)).json()["decision"] == "allow"
    assert await plane.system.store.apps.agent_app(DEFAULT, agent) == plane.app


async def test_an_apps_server_side_key_cannot_be_used_by_another_app(plane: Plane) -> None:
    receipt = (await plane.ask()).json()["receiptId"]
    record = await store_access.receipt(plane.system.store, DEFAULT, receipt)
    assert record is not None
    refused = await plane.ask(await plane.another(), agentDid=record.agent)
    assert refused.status_code == 403


async def test_one_of_two_apps_gets_an_agent_named_concurrently(
    plane: Plane, signer: AsyncSigner
) -> None:
    apps = [await plane.another() for _ in range(4)]
    for _ in range(3):
        did = await key(signer)
        replies = await asyncio.gather(*(plane.ask(who, agentDid=did) for who in apps))
        assert sorted(reply.status_code for reply in replies) == [200, 403, 403, 403]


async def test_an_app_that_the_server_registers_again_keeps_its_agents(
    plane: Plane, agent: str
) -> None:
    await plane.ask(agentDid=agent)
    for name, succeeds, status in (
        ("tests", False, 403),
        ("other", True, 403),
        ("tests", True, 200),
    ):
        key = await plane.system.create_app(name, succeeds=succeeds)
        who = {"authorization": f"Bearer {key.reveal()}"}
        assert (await plane.ask(who, agentDid=agent)).status_code == status
    assert (await plane.ask(agentDid=agent)).status_code == 403


async def test_a_server_key_is_refused_as_an_agent(plane: Plane) -> None:
    for did in (plane.system.pdp_did, plane.system.issuer_did):
        reply = await plane.ask(agentDid=did)
        assert (reply.status_code, reply.json()["fields"]) == (400, ["agentDid"])


async def test_a_swarm_is_named_by_its_app_and_label(plane: Plane, agent: str) -> None:
    listing = {"command": "/github/pr/list", "resource": REPO, "agentDid": agent}
    assert (await plane.ask(**listing)).json()["decision"] == "deny"
    answer = (await plane.ask(**listing, swarmId="crew")).json()
    lineage = plane.payload(answer["chain"][0])["meta"]["lineage"]
    assert lineage["swarmId"] == f"{plane.app}/crew"
    other = await plane.another()
    theirs = (await plane.ask(other, **{**listing, "agentDid": ...}, swarmId="crew")).json()
    found = await store_access.receipt(plane.system.store, DEFAULT, theirs["receiptId"])
    assert found is not None
    assert found.detail["swarm"] not in (None, f"{plane.app}/crew")
    assert str(found.detail["swarm"]).endswith("/crew")


async def test_no_label_names_another_apps_swarm(plane: Plane) -> None:
    for label in (f"{plane.app}/crew", "app_1/crew", "/crew"):
        reply = await plane.ask(await plane.another(), swarmId=label)
        assert (reply.status_code, reply.json()["fields"]) == (400, ["swarmId"])
