"""Questions on a chain: the grants, and what they keep of the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import store_access
from server.control.chain_agents import NOW, REPO, ChainAgent, agent_chain, cid, key, root_of

from nomos._io.signer import AsyncSigner
from nomos._protocol import Verified, Verify
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

POLICY: Final = """
@id("all") permit(principal, action, resource);

@id("not-deep") @reason("three generations are enough")
forbid(principal, action, resource) when { principal.delegationDepth > 2 };

@id("root-only")
forbid(principal, action == Action::"/github/repo/delete", resource is Github)
when { principal.invokedBy.contains(principal.rootAgent) };

@id("named")
forbid(principal, action == Action::"/github/release/create", resource is Github)
unless { principal.delegationDepth == 0 || principal.swarmId like "*/blue" };
"""
LIST: Final = "/github/issue/list"
WAYS: Final = ("with an API key", "with the chain alone")


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


async def ask(way: str, who: ChainAgent, command: str = LIST, /, **more: Any) -> httpx.Response:
    return await (who.ask_with_key if way == WAYS[0] else who.ask)(command, **more)


async def allowed(way: str, who: ChainAgent, command: str = LIST, /, **more: Any) -> dict[str, Any]:
    reply = await ask(way, who, command, **more)
    answer: dict[str, Any] = reply.json()
    assert answer["decision"] == "allow", answer
    return answer


async def test_a_grant_on_a_chain_replaces_it_with_all_its_restrictions(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root, child, grandchild = await agent_chain(plane, signer, 3)
    narrow = await grandchild.fork(
        await key(signer, 0x5A), cmd="/github/issue", pol=[["==", ".args.state", "open"]]
    )
    answer = await allowed(way, grandchild)
    claims = plane.payload(answer["chain"][0])
    assert len(answer["chain"]) == 1
    assert (claims["iss"], claims["sub"]) == (plane.system.issuer_did,) * 2
    assert (claims["aud"], claims["cmd"]) == (grandchild.did, LIST)
    assert claims["prf"] == [cid(token) for token in grandchild.chain]
    assert claims["pol"] == [*root.root["pol"], ["==", ".cmd", LIST]]
    assert claims["meta"]["resource_constraint"] == REPO
    assert claims["meta"]["receipt_id"] == answer["receiptId"]
    assert claims["meta"]["app_id"] == plane.app
    assert claims["meta"]["audience"] == plane.system.pdp_did
    assert claims["meta"]["lineage"] == {
        "root": root.did,
        "invokedBy": sorted([root.did, child.did]),
        "depth": 2,
        "swarmId": root.root["meta"]["receipt_id"],
    }
    denied = (await ask(way, narrow)).json()
    assert (denied["decision"], denied["explanation"]["policies"]) == ("deny", ["not-deep"])


async def test_every_links_statements_are_kept_once(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root = await root_of(plane, signer, await key(signer, 0x51), "/github/issue")
    mine, same = ["==", ".args.state", "open"], ["==", ".cmd", LIST]
    child = await root.fork(await key(signer, 0x52), pol=[mine, same])
    grandchild = await child.fork(await key(signer, 0x53), cmd=LIST, pol=[same, ["or", [mine]]])
    claims = plane.payload((await allowed(way, grandchild))["chain"][0])
    assert claims["pol"] == [*root.root["pol"], mine, same, ["or", [mine]]]


async def test_a_vacuous_statement_of_a_link_is_kept(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root = await root_of(plane, signer, await key(signer, 0x51))
    child = await root.fork(await key(signer, 0x52), pol=[["or", []]])
    assert ["or", []] in plane.payload((await allowed(way, child))["chain"][0])["pol"]


async def test_no_grant_outlives_its_chain(plane: Plane, signer: AsyncSigner, way: str) -> None:
    root = await root_of(plane, signer, await key(signer, 0x51), ttlSeconds=600)
    child = await root.fork(await key(signer, 0x52), exp=NOW + 120, nbf=NOW - 10)
    answer = await allowed(way, child, ttlSeconds=3600)
    claims = plane.payload(answer["chain"][0])
    assert (claims["nbf"], claims["exp"]) == (NOW - 10, NOW + 120)
    assert answer["expiresAt"] == "2027-01-15T08:02:00.000Z"
    assert plane.payload((await allowed(way, child, ttlSeconds=30))["chain"][0])["exp"] == NOW + 30


async def test_a_link_without_a_resource_inherits_its_parents(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    file = {"provider": "filesystem", "path": "notes"}
    root = await root_of(
        plane, signer, await key(signer, 0x51), "/filesystem/file/read", resource=file
    )
    child = await root.fork(await key(signer, 0x52), meta=None)
    asked = {"provider": "filesystem", "path": "/notes/a.txt"}
    method = child.ask_with_key if way == WAYS[0] else child.ask
    answer = (await method("/filesystem/file/read", asked)).json()
    assert answer["resource"] == {"provider": "filesystem", "path": "notes/a.txt"}
    claims = plane.payload(answer["chain"][0])
    assert claims["meta"]["resource_constraint"] == answer["resource"]


async def test_a_grant_on_a_chain_is_a_root_that_can_be_delegated(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root, child = await agent_chain(plane, signer, 2)
    answer = await allowed(way, child, "/github/issue")
    again = ChainAgent(plane, signer, child.did, tuple(answer["chain"]))
    grandchild = await again.fork(await key(signer, 0x53))
    found = await signer.ask(
        Verify(
            chain=list(grandchild.chain),
            now=NOW,
            trusted_issuers=[plane.system.issuer_did],
            audience=grandchild.did,
        )
    )
    assert isinstance(found, Verified)
    assert found.depth == 3
    lineage = plane.payload((await allowed(way, grandchild))["chain"][0])["meta"]["lineage"]
    assert lineage == {
        "root": root.did,
        "invokedBy": sorted([root.did, child.did]),
        "depth": 2,
        "swarmId": root.root["meta"]["receipt_id"],
    }


async def test_narrowing_the_own_grant_is_no_delegation(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root = await root_of(plane, signer, await key(signer, 0x51))
    claims = plane.payload((await allowed(way, root, "/github/repo/delete"))["chain"][0])
    assert claims["meta"]["lineage"] == {"root": root.did, "invokedBy": [], "depth": 0}
    again = ChainAgent(plane, signer, root.did, (await root_chain(plane, root)))
    child = await again.fork(await key(signer, 0x52))
    depth = plane.payload((await allowed(way, child))["chain"][0])["meta"]["lineage"]["depth"]
    assert depth == 1


async def root_chain(plane: Plane, root: ChainAgent) -> tuple[str, ...]:
    answer = (await root.ask_with_key("/github/issue")).json()
    return tuple(answer["chain"])


async def test_policy_sees_the_agents_of_the_chain(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root, child = await agent_chain(plane, signer, 2)
    assert (await allowed(way, root, "/github/repo/delete"))["decision"] == "allow"
    denied = (await ask(way, child, "/github/repo/delete")).json()
    assert denied["explanation"]["policies"] == ["root-only"]


async def test_a_swarm_is_named_by_its_root_and_inherited(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root, child = await agent_chain(plane, signer, 2, swarmId="blue")
    assert root.root["meta"]["lineage"] == {
        "root": root.did,
        "invokedBy": [],
        "depth": 0,
        "swarmId": f"{plane.app}/blue",
    }
    answer = await allowed(way, child, "/github/release/create", swarmId="blue")
    assert plane.payload(answer["chain"][0])["meta"]["lineage"]["swarmId"] == f"{plane.app}/blue"
    reply = await ask(way, child, swarmId="red")
    assert (reply.status_code, reply.json()["fields"]) == (400, ["swarmId"])
    decisions = [row for row in await plane.receipts() if row.kind == "decision"]
    assert [row.detail["swarm"] for row in decisions] == [f"{plane.app}/blue"] * 2


async def test_a_swarm_without_a_name_is_named_by_its_first_receipt(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root, child = await agent_chain(plane, signer, 2)
    first = root.root["meta"]["receipt_id"]
    assert "lineage" not in root.root["meta"]
    assert (await allowed(way, child, swarmId=first))["decision"] == "allow"


async def test_the_parent_receipt_is_the_chain_s(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    _, child = await agent_chain(plane, signer, 2)
    first = child.root["meta"]["receipt_id"]
    answer = await allowed(way, child, parentReceiptId=first)
    reply = await ask(way, child, parentReceiptId=answer["receiptId"])
    assert (reply.status_code, reply.json()["fields"]) == (400, ["parentReceiptId"])


async def test_each_link_is_recorded_once_and_decisions_follow_the_last(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root, child, grandchild = await agent_chain(plane, signer, 3)
    for _ in range(2):
        await allowed(way, grandchild, args={"state": "open"})
    denied = (await ask(way, grandchild, "/github/repo/delete")).json()
    rows = list(reversed(await plane.receipts()))
    first, link, last, *decisions = rows
    assert [row.kind for row in rows] == ["decision", *["delegation"] * 2, *["decision"] * 3]
    assert (first.root, first.parent) == (root.did, None)
    assert (link.agent, link.parent, link.cid) == (child.did, first.id, cid(child.chain[-1]))
    assert (last.agent, last.parent, last.cid) == (
        grandchild.did,
        link.id,
        cid(grandchild.chain[-1]),
    )
    assert dict(last.detail) == {"by": child.did, "depth": 2}
    for row in decisions:
        assert (row.agent, row.root, row.parent) == (grandchild.did, root.did, last.id)
        assert row.app == plane.app
    assert decisions[-1].id == denied["receiptId"]


async def test_a_parent_receipt_without_a_chain_is_taken_from_the_question(
    plane: Plane, agent: str
) -> None:
    first = (await plane.ask(agentDid=agent)).json()["receiptId"]
    second = (await plane.ask(agentDid=agent, parentReceiptId=first)).json()["receiptId"]
    row = await store_access.receipt(plane.system.store, DEFAULT, second)
    assert row is not None
    assert (row.parent, row.root) == (first, agent)
    other = await plane.another()
    reply = await plane.ask(other, parentReceiptId=first)
    assert (reply.status_code, reply.json()["fields"]) == (400, ["parentReceiptId"])


async def test_another_app_may_act_on_a_chain_until_the_first_app_is_revoked(
    plane: Plane, signer: AsyncSigner
) -> None:
    _, child = await agent_chain(plane, signer, 2)
    other = await plane.another()
    body = {"command": LIST, "resource": dict(REPO), "agentDid": child.did}
    reply = await plane.client.post(
        "/v1/authorize", json={**body, "delegatedChain": list(child.chain)}, headers=other
    )
    claims = plane.payload(reply.json()["chain"][0])
    assert claims["meta"]["app_id"] != plane.app
    assert claims["meta"]["lineage"]["apps"] == [plane.app]
    await store_access.revoke(plane.system.store, DEFAULT, [plane.app])
    again = ChainAgent(plane, signer, child.did, tuple(reply.json()["chain"]))
    denied = await again.ask(LIST)
    assert (denied.json()["decision"], denied.json()["reason"]) == ("deny", "revoked")


async def test_a_chain_to_the_app_s_own_key_is_used_by_the_server(
    plane: Plane, signer: AsyncSigner
) -> None:
    """Who asks without `agentDid` has the server sign, on a chain too."""
    own = plane.payload((await plane.ask()).json()["chain"][0])["aud"]
    root = await root_of(plane, signer, await key(signer, 0x51))
    child = await root.fork(own)
    body = {"command": LIST, "resource": dict(REPO), "delegatedChain": list(child.chain)}
    answer = (await plane.client.post("/v1/authorize", json=body)).json()
    found = await signer.ask(
        Verify(
            invocation=answer["ucan"],
            now=NOW,
            trusted_issuers=[plane.system.issuer_did],
            audience=plane.system.pdp_did,
            pdp=True,
        )
    )
    assert isinstance(found, Verified)
    assert (found.agent, found.depth) == (own, 2)


async def test_a_prefix_on_a_chain_covers_the_chains_commands(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root = await root_of(plane, signer, await key(signer, 0x51), "/github/issue")
    child = await root.fork(await key(signer, 0x52))
    answer = await allowed(way, child, "/github/issue")
    assert LIST in answer["commands"]
    only = await root.fork(await key(signer, 0x52), pol=[["==", ".cmd", LIST]])
    denied = (await ask(way, only, "/github/issue")).json()
    assert denied["reason"] == "chain_attenuation_violation"
    assert (await allowed(way, only))["decision"] == "allow"


async def test_a_long_chain_fits_into_a_question(plane: Plane, signer: AsyncSigner) -> None:
    filler = [
        ["==", ".cmd", LIST],
        ["or", [["==", ".cmd", "/x" * 127]] * 60 + [["==", ".cmd", LIST]]],
    ]
    agents = [await root_of(plane, signer, await key(signer, 0x51))]
    for generation in range(7):
        agents.append(await agents[-1].fork(await key(signer, 0x52 + generation), pol=filler))
    assert sum(map(len, agents[-1].chain)) > 128 * 1024
    answer = (await agents[-1].ask_with_key(LIST)).json()
    assert answer["explanation"]["policies"] == ["not-deep"]


async def test_a_repeated_question_is_answered_once_for_its_agent(
    plane: Plane, signer: AsyncSigner
) -> None:
    """Each try is another invocation, and the same question."""
    _, child = await agent_chain(plane, signer, 2)
    again = {"idempotency-key": "one"}
    first = (await child.ask(LIST, headers=again)).json()
    assert (await child.ask(LIST, headers=again)).json() == first
    sibling = await (await root_of(plane, signer, await key(signer, 0x51))).fork(
        await key(signer, 0x59)
    )
    reply = await sibling.ask(LIST, headers=again)
    assert (reply.status_code, reply.json()["error_code"]) == (409, "idempotency_conflict")


async def test_a_repeated_question_is_not_allowed_on_a_chain_that_was_revoked(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    _, child, grandchild = await agent_chain(plane, signer, 3)
    body = {"command": LIST, "resource": dict(REPO), "agentDid": grandchild.did}

    async def repeat() -> dict[str, Any]:
        headers = {"idempotency-key": "two"}
        if way == WAYS[1]:
            reply = await grandchild.ask(LIST, headers=headers)
        else:
            sent = {**body, "delegatedChain": list(grandchild.chain)}
            reply = await plane.client.post("/v1/authorize", json=sent, headers=headers)
        answer: dict[str, Any] = reply.json()
        return answer

    first = await repeat()
    await store_access.revoke(plane.system.store, DEFAULT, [cid(child.chain[-1])])
    again = await repeat()
    assert (first["decision"], again["decision"], again["reason"]) == ("allow", "deny", "revoked")
    assert again["receiptId"] == first["receiptId"]
