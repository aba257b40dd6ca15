"""Tokens that Python and the binary could read differently: the binary's answer is the server's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from readings import READABLE, UNREADABLE, rewritten
from server.control.chain_agents import NOW, REPO, ChainAgent, new_did

from nomos._core.unverified import MAX_IDS
from nomos._io.signer import AsyncSigner
from nomos._protocol import Answer, Refused, Request

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

LIST: Final = "/github/issue/list"
POLICY: Final = '@id("all") permit(principal, action, resource);'


class Counting:
    """The real signer, which keeps the kinds of what it was asked."""

    def __init__(self, signer: AsyncSigner) -> None:
        self._signer = signer
        self.asked: list[str] = []

    async def ask(self, request: Request) -> Answer | Refused:
        self.asked.append(type(request).__name__)
        return await self._signer.ask(request)


@pytest.fixture
def counting(signer: AsyncSigner) -> Counting:
    return Counting(signer)


@pytest.fixture
async def plane(tmp_path: Path, counting: Any, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", counting, policy=POLICY) as plane:
        yield plane


@pytest.fixture
async def root(plane: Plane, signer: AsyncSigner) -> ChainAgent:
    did = await new_did(signer)
    asked = {"command": LIST, "resource": dict(REPO), "agentDid": did, "ttlSeconds": 600}
    answer = (await plane.client.post("/v1/authorize", json=asked)).json()
    del plane.client.headers["authorization"]
    return ChainAgent(plane, signer, did, tuple(answer["chain"]))


async def sent(plane: Plane, token: str) -> tuple[int, str]:
    reply = await plane.client.post(
        "/v1/authorize",
        json={"command": LIST, "resource": dict(REPO)},
        headers={"authorization": f"Bearer {token}"},
    )
    return reply.status_code, reply.json().get("error_code", reply.json().get("decision"))


async def test_a_question_by_a_chain_is_verified_once_before_it_is_read(
    counting: Counting, root: ChainAgent
) -> None:
    counting.asked.clear()
    assert (await root.ask(LIST)).json()["decision"] == "allow"
    assert counting.asked == ["Verify", "Verify", "Delegate"], "who asks, what is asked, the answer"


async def test_another_request_by_a_chain_is_verified_once(
    counting: Counting, root: ChainAgent
) -> None:
    counting.asked.clear()
    assert (await root.request("GET", "/v1/approvals/env_none")).status_code == 404
    assert counting.asked == ["Verify"]


@pytest.mark.parametrize("name", [*READABLE, *UNREADABLE])
async def test_text_that_the_binary_refuses_is_malformed(
    plane: Plane, counting: Counting, root: ChainAgent, name: str
) -> None:
    token = await root.sign(LIST, {"resource": dict(REPO)})
    change = (READABLE | UNREADABLE)[name]
    counting.asked.clear()
    assert await sent(plane, rewritten(token, change)) == (401, "malformed_ucan")
    assert counting.asked == ["Verify"]


@pytest.mark.parametrize("name", sorted({*READABLE, *UNREADABLE} - {"no list of links"}))
async def test_a_link_that_the_binary_refuses_is_malformed(
    plane: Plane, counting: Counting, root: ChainAgent, name: str
) -> None:
    change = (READABLE | UNREADABLE)[name]
    link = rewritten(root.chain[0], change)
    token = await root.sign(LIST, {"resource": dict(REPO)}, prf=[link])
    counting.asked.clear()
    assert await sent(plane, token) == (401, "malformed_ucan")
    assert counting.asked == ["Verify"]


async def test_malformed_text_is_reported_before_an_untrusted_root(
    plane: Plane, signer: AsyncSigner, root: ChainAgent
) -> None:
    """And that before how long it lives."""
    here = plane.system.issuer_did.encode()
    elsewhere = rewritten(root.chain[0], lambda text: text.replace(here, root.did.encode()))
    long: dict[str, Any] = {"iat": NOW - 60, "exp": NOW + 300, "prf": [elsewhere]}
    token = await root.sign(LIST, {"resource": dict(REPO)}, **long)
    assert await sent(plane, token) == (401, "untrusted_issuer")
    broken = rewritten(token, READABLE["spaces"])
    assert await sent(plane, broken) == (401, "malformed_ucan")
    empty = await root.sign(LIST, {"resource": dict(REPO)}, prf=[])
    assert await sent(plane, empty) == (401, "chain_invalid")


async def test_a_token_that_names_too_many_others_is_not_looked_up(
    plane: Plane, counting: Counting, root: ChainAgent
) -> None:
    names = ",".join(f'"{number}"' for number in range(MAX_IDS))
    lineage = f'"meta":{{"lineage":{{"invokedBy":[{names}]}},'.encode()
    link = rewritten(root.chain[0], lambda text: text.replace(b'"meta":{', lineage))
    token = await root.sign(LIST, {"resource": dict(REPO)}, prf=[link])
    counting.asked.clear()
    assert await sent(plane, token) == (401, "malformed_ucan")
    assert counting.asked == []
