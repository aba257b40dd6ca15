"""Revocation of delegations: who may revoke, and what is revoked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from server.control import people
from server.control.chain_agents import ChainAgent, cid, new_did, root_of

from nomos._io.signer import AsyncSigner

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

POLICY = "permit(principal, action, resource);"
LIST = "/github/issue/list"
PATH = "/v1/revocations"


@dataclass
class Family:
    """Three generations, and a sibling of the last."""

    plane: Plane
    root: ChainAgent
    child: ChainAgent
    grandchild: ChainAgent
    sibling: ChainAgent

    async def works(self) -> dict[str, bool]:
        """Who is still allowed something."""
        members = {name: getattr(self, name) for name in ("root", "child", "grandchild", "sibling")}
        return {
            name: (await who.ask(LIST)).json()["decision"] == "allow"
            for name, who in members.items()
        }


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


@pytest.fixture
async def family(plane: Plane, signer: AsyncSigner) -> Family:
    root = await root_of(plane, signer, await new_did(signer), LIST, ttlSeconds=600)
    child = await root.fork(await new_did(signer))
    grandchild, sibling = [await child.fork(await new_did(signer)) for _ in range(2)]
    return Family(plane, root, child, grandchild, sibling)


def body(ident: str, chain: Sequence[str] | None, **more: Any) -> dict[str, Any]:
    return {"id": ident, **({} if chain is None else {"chain": list(chain)}), **more}


async def revoke_by_agent(
    who: ChainAgent, ident: str, chain: Sequence[str] | None
) -> httpx.Response:
    return await who.request("POST", PATH, json.dumps(body(ident, chain)).encode())


ALL = {"root": True, "child": True, "grandchild": True, "sibling": True}


async def test_an_unused_link_is_revoked_by_its_app(family: Family) -> None:
    chain = family.child.chain
    reply = await family.plane.client.post(PATH, json=body(cid(chain[-1]), chain, reason="enough"))
    assert reply.status_code == 200, reply.text
    assert (reply.json()["kind"], reply.json()["known"]) == ("cid", True)
    assert await family.works() == dict.fromkeys(ALL, False) | {"root": True}
    [row] = [row for row in await family.plane.receipts() if row.kind == "revocation"]
    assert (row.cid, row.root, row.actor) == (cid(chain[-1]), family.root.did, family.plane.app)
    assert row.detail["reason"] == "enough" and "by" not in row.detail


async def test_the_app_may_revoke_the_root_by_its_chain(family: Family) -> None:
    chain = family.grandchild.chain
    reply = await family.plane.client.post(PATH, json=body(cid(chain[0]), chain))
    assert reply.status_code == 200
    assert await family.works() == dict.fromkeys(ALL, False)


async def test_an_agent_revokes_its_delegations_and_their_descendants(family: Family) -> None:
    link = cid(family.grandchild.chain[-1])
    reply = await revoke_by_agent(family.child, link, family.grandchild.chain)
    assert reply.status_code == 200, reply.text
    assert await family.works() == {**ALL, "grandchild": False}
    [row] = [row for row in await family.plane.receipts() if row.kind == "revocation"]
    assert (row.app, row.actor) == (family.plane.app, family.plane.app)
    assert row.detail["by"] == family.child.did
    other = cid(family.sibling.chain[-1])
    assert (await revoke_by_agent(family.root, other, family.sibling.chain)).status_code == 200
    assert await family.works() == {**ALL, "grandchild": False, "sibling": False}


async def test_an_agent_revokes_nothing_above_or_beside_it(family: Family) -> None:
    for who, of, place in (
        (family.child, family.grandchild, 0),
        (family.grandchild, family.grandchild, 1),
        (family.grandchild, family.sibling, -1),
        (family.sibling, family.grandchild, -2),
    ):
        reply = await revoke_by_agent(who, cid(of.chain[place]), of.chain)
        assert (reply.status_code, reply.json()["error_code"]) == (404, "not_found"), reply.text
    assert await family.works() == ALL


async def test_an_agent_revokes_its_own_delegation(family: Family) -> None:
    answer = (await family.sibling.ask(LIST)).json()
    again = replace(family.sibling, chain=tuple(answer["chain"]))
    reply = await revoke_by_agent(family.sibling, cid(again.chain[0]), again.chain)
    assert reply.status_code == 200, reply.text
    assert (await again.ask(LIST)).json()["reason"] == "revoked"
    assert await family.works() == ALL
    link = cid(family.grandchild.chain[-1])
    assert (await revoke_by_agent(family.grandchild, link, family.grandchild.chain)).is_success
    assert await family.works() == {**ALL, "grandchild": False}


async def test_an_agent_must_show_the_chain(family: Family) -> None:
    reply = await revoke_by_agent(family.child, cid(family.grandchild.chain[-1]), None)
    assert (reply.status_code, reply.json()["fields"]) == (400, ["chain"])
    assert await family.works() == ALL


async def test_another_app_s_chain_is_not_revoked(family: Family) -> None:
    other, chain = await family.plane.another(), family.child.chain
    reply = await family.plane.client.post(PATH, json=body(cid(chain[-1]), chain), headers=other)
    assert (reply.status_code, reply.json()["error_code"]) == (404, "not_found")
    assert await family.works() == ALL


async def test_an_operator_revokes_any_link(family: Family) -> None:
    who, chain = await people.operator(family.plane, "*"), family.grandchild.chain
    reply = await family.plane.client.post(PATH, json=body(cid(chain[1]), chain), headers=who)
    assert (reply.status_code, reply.json()["known"]) == (200, True)
    assert await family.works() == dict.fromkeys(ALL, False) | {"root": True}


async def test_the_id_is_one_of_the_chain(family: Family) -> None:
    chain = family.child.chain
    for ident in ("0" * 64, cid(family.sibling.chain[-1]), family.child.did):
        reply = await family.plane.client.post(PATH, json=body(ident, chain))
        assert (reply.status_code, reply.json()["fields"]) == (400, ["id"]), reply.text


async def test_a_chain_that_proves_nothing_revokes_nothing(family: Family) -> None:
    other_holder = replace(family.child, did=family.sibling.did)
    forked = await other_holder.fork(family.sibling.did)
    root, link, last = family.grandchild.chain
    for chain in (forked.chain, (root, last), (link, last), (root, last, link), ("a.b.c",)):
        reply = await family.plane.client.post(PATH, json=body(cid(chain[-1]), chain))
        assert (reply.status_code, reply.json()["fields"]) == (400, ["chain"]), reply.text
    reply = await family.plane.client.post(PATH, json=body(cid(link), ()))
    assert reply.json()["fields"] == ["chain"]
    assert await family.works() == ALL


async def test_an_expired_or_partly_revoked_chain_proves_ownership(
    family: Family,
) -> None:
    chain = family.grandchild.chain
    first = await family.plane.client.post(PATH, json=body(cid(chain[1]), chain))
    again = await family.plane.client.post(PATH, json=body(cid(chain[1]), chain))
    assert (first.json()["alreadyRevoked"], again.json()["alreadyRevoked"]) == (False, True)
    family.plane.clock.now += 900
    reply = await family.plane.client.post(PATH, json=body(cid(chain[2]), chain))
    assert (reply.status_code, reply.json()["seq"]) == (200, 2)


async def test_a_widened_chain_proves_no_ownership(family: Family, signer: AsyncSigner) -> None:
    wide = await family.child.fork(await new_did(signer), cmd="/github")
    reply = await family.plane.client.post(PATH, json=body(cid(wide.chain[-1]), wide.chain))
    assert "chain_attenuation_violation" in reply.json()["error"]


async def test_a_re_issued_grant_is_revoked_with_the_chain_that_it_replaces(family: Family) -> None:
    answer = (await family.grandchild.ask(LIST)).json()
    again = replace(family.grandchild, chain=tuple(answer["chain"]))
    assert (await again.ask(LIST)).json()["decision"] == "allow"
    link = cid(family.child.chain[-1])
    assert (await revoke_by_agent(family.root, link, family.child.chain)).status_code == 200
    assert (await again.ask(LIST)).json()["reason"] == "revoked"
