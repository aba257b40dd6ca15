"""The page shows for which agent a question is asked, and through which."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from nomos._io.signer import AsyncSigner
from nomos._protocol import Delegate, Delegation, GenerateKey, GenerateKeyAnswer, Signed

if TYPE_CHECKING:
    from server.pages.conftest import Site

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000
WRITE = "/filesystem/file/write"


async def chain(site: Site, signer: AsyncSigner, links: int) -> tuple[list[str], list[str]]:
    """A grant of the issuer and its delegations; the agents and the tokens."""
    issuer = site.system.issuer_did
    agents: list[str] = []
    tokens: list[str] = []
    for _ in range(links):
        made = await signer.ask(GenerateKey())
        assert isinstance(made, GenerateKeyAnswer)
        agents.append(made.key)
    for place, (delegator, taker) in enumerate(itertools.pairwise([issuer, *agents])):
        before = [hashlib.sha256(tokens[-1].encode()).hexdigest()] if tokens else None
        payload = Delegation(
            iss=delegator,
            aud=taker,
            sub=issuer,
            cmd=WRITE,
            pol=[],
            nonce=f"link-{place}",
            nbf=NOW - 60,
            exp=NOW + 600,
            meta={"resource_constraint": {"provider": "filesystem", "path": "notes"}},
            prf=before,
        )
        answer = await signer.ask(Delegate(key=delegator, payload=payload))
        assert isinstance(answer, Signed)
        tokens.append(answer.jwt)
    return agents, tokens


async def asked(site: Site, agent: str, tokens: list[str] | None, path: str) -> str:
    question: dict[str, Any] = {
        "command": WRITE,
        "resource": {"provider": "filesystem", "path": f"notes/{path}"},
        "args": {"content": path},
        "agentDid": agent,
    }
    return await site.ask(question if tokens is None else {**question, "delegatedChain": tokens})


async def test_the_page_shows_the_first_agent_and_those_between(
    site: Site, signer: AsyncSigner
) -> None:
    agents, tokens = await chain(site, signer, 3)
    root, between, agent = agents
    ident = await asked(site, agent, tokens, "a")
    person = await site.person()
    page = await person.see(f"/approvals/{ident}")
    text = " ".join(page.text.split())
    assert f"Agent {agent}" in text
    assert f"On behalf of {root} through {between}" in text
    queue = " ".join((await person.see("/approvals")).text.split())
    assert f"…{agent[-6:]} for …{root[-6:]}" in queue


async def test_a_direct_child_shows_no_agents_between(site: Site, signer: AsyncSigner) -> None:
    agents, tokens = await chain(site, signer, 2)
    ident = await asked(site, agents[1], tokens, "b")
    text = " ".join((await (await site.person()).see(f"/approvals/{ident}")).text.split())
    assert f"On behalf of {agents[0]} App" in text
    assert "through" not in text.partition("On behalf of")[2].partition("Resource")[0]


async def test_a_root_agent_shows_no_first_agent(site: Site, signer: AsyncSigner) -> None:
    agents, tokens = await chain(site, signer, 1)
    for path, given in (("c", None), ("d", tokens)):
        ident = await asked(site, agents[0], given, path)
        page = await (await site.person()).see(f"/approvals/{ident}")
        assert "On behalf of" not in page.text
