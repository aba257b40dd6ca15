"""Approvals for agents that act for others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import store_access
from server.control import people
from server.control.chain_agents import NOW, REPO, ChainAgent, agent_chain, new_did
from server.control.test_control_chains import WAYS

from nomos._io.signer import AsyncSigner
from nomos._protocol import Call, Verified, Verify
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

POLICY: Final = """
@id("all") permit(principal, action, resource);

@id("children-ask") @step_up("lead")
forbid(principal, action == Action::"/github/issue/create", resource is Github)
when { principal.delegationDepth > 0 } unless { context.cosigned };
"""
CREATE: Final = "/github/issue/create"
ARGS: Final = {"title": "It broke"}


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


async def ask(way: str, who: ChainAgent, **more: Any) -> dict[str, Any]:
    method = who.ask_with_key if way == WAYS[0] else who.ask
    answer: dict[str, Any] = (await method(CREATE, **{"args": dict(ARGS), **more})).json()
    return answer


async def test_an_approval_is_bound_to_the_agent_and_its_ancestors(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    root, child, grandchild = await agent_chain(plane, signer, 3, "/github/issue")
    answer = await ask(way, grandchild)
    assert answer["decision"] == "requires_step_up"
    envelope = answer["approvalEnvelopeId"]
    lead = await people.operator(plane, "lead")
    seen = (await people.decide(plane, lead, envelope)).json()
    assert seen["agent"] == grandchild.did
    assert seen["root"] == root.did
    assert seen["invokedBy"] == sorted([root.did, child.did])
    kept = await plane.system.store.envelopes.find(DEFAULT, envelope)
    assert kept is not None
    assert (kept.bound["root"], kept.bound["invokedBy"]) == (seen["root"], seen["invokedBy"])

    allowed = await ask(way, grandchild, cosignerEnvelopeId=envelope)
    assert allowed["decision"] == "allow", allowed
    claims = plane.payload(allowed["chain"][0])
    assert claims["meta"]["approval"]["id"] == envelope
    assert claims["meta"]["lineage"]["root"] == root.did
    again = await ask(way, grandchild, cosignerEnvelopeId=envelope)
    assert again["reason"] == "approval_already_used"
    rows = {row.id: row for row in await plane.receipts()}
    decided = rows[allowed["receiptId"]]
    asked = rows[decided.parent or ""]
    link = rows[asked.parent or ""]
    assert (asked.decision, link.kind, link.agent) == (
        "requires_step_up",
        "delegation",
        grandchild.did,
    )
    assert {row.root for row in rows.values() if row.kind == "approval"} == {root.did}


async def test_an_approved_childs_call_is_accepted_by_the_pdp(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    _, child = await agent_chain(plane, signer, 2, "/github/issue")
    envelope = (await ask(way, child))["approvalEnvelopeId"]
    await people.decide(plane, await people.operator(plane, "lead"), envelope)
    allowed = await ask(way, child, cosignerEnvelopeId=envelope)
    holder = ChainAgent(plane, signer, child.did, tuple(allowed["chain"]))
    token = await holder.sign(CREATE, {"resource": dict(REPO), **ARGS}, aud=plane.system.pdp_did)
    found = await signer.ask(
        Verify(
            invocation=token,
            now=NOW,
            trusted_issuers=[plane.system.issuer_did],
            audience=plane.system.pdp_did,
            pdp=True,
            call=Call(cmd=CREATE, resource=dict(REPO), args=dict(ARGS)),
        )
    )
    assert isinstance(found, Verified)
    assert found.depth == 2


async def test_an_approval_is_refused_on_another_chain(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    """The same agent, on a chain of another parent, asks another question."""
    root, child, grandchild = await agent_chain(plane, signer, 3, "/github/issue")
    envelope = (await ask(way, grandchild))["approvalEnvelopeId"]
    await people.decide(plane, await people.operator(plane, "lead"), envelope)
    other = await root.fork(grandchild.did)
    answer = await ask(way, other, cosignerEnvelopeId=envelope)
    assert (answer["reason"], answer["explanation"]["fields"]) == (
        "approval_mismatch",
        ["invokedBy"],
    )
    assert child.did


async def test_an_approval_is_refused_after_a_link_is_revoked(
    plane: Plane, signer: AsyncSigner, way: str
) -> None:
    _, child = await agent_chain(plane, signer, 2, "/github/issue")
    envelope = (await ask(way, child))["approvalEnvelopeId"]
    await people.decide(plane, await people.operator(plane, "lead"), envelope)
    await store_access.revoke(plane.system.store, DEFAULT, [child.did])
    answer = await ask(way, child, cosignerEnvelopeId=envelope)
    assert (answer["decision"], answer["reason"]) == ("deny", "revoked")


async def test_a_root_agent_has_no_ancestors_in_the_approval(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    policy = POLICY.replace("principal.delegationDepth > 0", "true")
    async with open_plane(tmp_path / "data", signer, policy=policy) as plane:
        asked = {"command": CREATE, "resource": dict(REPO), "args": ARGS}
        envelope = await people.asked(plane, **asked, agentDid=await new_did(signer))
        view = await people.seen(plane, envelope)
        assert "root" not in view and "invokedBy" not in view
