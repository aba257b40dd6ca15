"""Children at a standalone PDP: they sign offline, and a revoked branch is refused."""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from standalone import NOTE, READ, Pdp, Plane, Wire, read, together, until

from nomos._io.binary_location import find_binary
from nomos._io.signer import Signer, SignerConnection
from nomos._protocol import (
    Fork,
    ForkAnswer,
    ForkChild,
    ForkLink,
    GenerateKey,
    GenerateKeyAnswer,
    Invocation,
    Invoke,
    Signed,
)

WITHIN = 5.0

nonces = itertools.count()


@dataclass
class Agent:
    """A key, and the chain that ends in it."""

    signer: Signer
    did: str
    chain: list[str]
    cid: str = ""

    def fork(self, count: int = 1, **link: Any) -> list[Agent]:
        """Children of this agent, each with what it has itself unless `link` says less."""
        made = [_key(self.signer) for _ in range(count)]
        wanted = {"cmd": READ, "pol": [], **link}
        children = [
            ForkChild(aud=did, links=[ForkLink(nonce=f"nonce {next(nonces):06}", **wanted)])
            for did in made
        ]
        fork = Fork(key=self.did, chains=[self.chain], children=children, now=int(time.time()))
        answer = self.signer.ask(fork)
        assert isinstance(answer, ForkAnswer), answer
        return [
            Agent(self.signer, child.aud, [*self.chain, child.links[0].jwt], child.links[0].cid)
            for child in answer.children
        ]

    def token(self, pdp: Pdp, issuer: str, path: str = "note") -> str:
        now = int(time.time())
        payload = Invocation(
            iss=self.did,
            aud=pdp.did,
            sub=issuer,
            cmd=READ,
            args={"resource": {"provider": "filesystem", "path": path}},
            nonce=f"nonce {next(nonces):06}",
            iat=now - 60,
            exp=now + 30,
            prf=self.chain,
        )
        answer = self.signer.ask(Invoke(key=self.did, payload=payload))
        assert isinstance(answer, Signed), answer
        return answer.jwt


def _key(signer: Signer) -> str:
    answer = signer.ask(GenerateKey())
    assert isinstance(answer, GenerateKeyAnswer), answer
    return answer.key


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    link = SignerConnection(find_binary())
    yield Signer(link)
    link.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plane, Pdp, Wire]]:
    with together(tmp_path_factory.mktemp("alone")) as made:
        yield made


def granted(plane: Plane, pdp: Pdp, signer: Signer, **more: Any) -> Agent:
    did = _key(signer)
    return Agent(signer, did, plane.grant(pdp.did, agentDid=did, **more)["chain"])


def result_of(plane: Plane, pdp: Pdp, agent: Agent, path: str = "note") -> str:
    """How a read ends: `allowed`, or the code of its refusal."""
    reply = read(pdp.http, agent.token(pdp, plane.issuer, path), path)
    return "allowed" if reply.status_code == 200 else str(reply.json()["error_code"])


def test_a_revoked_branch_is_refused_within_five_seconds_and_its_sibling_accepted(
    scene: tuple[Plane, Pdp, Wire], signer: Signer
) -> None:
    plane, pdp, _ = scene
    root = granted(plane, pdp, signer)
    branch, sibling = root.fork(2)
    leaves = branch.fork(3)
    tree = [root, branch, sibling, *leaves]
    assert [result_of(plane, pdp, agent) for agent in tree] == ["allowed"] * 6
    plane.revoke(branch.cid)
    until(lambda: result_of(plane, pdp, leaves[0]) == "revoked", WITHIN)
    assert [result_of(plane, pdp, agent) for agent in (branch, *leaves)] == ["revoked"] * 4
    assert [result_of(plane, pdp, agent) for agent in (root, sibling)] == ["allowed"] * 2
    plane.revoke(root.did)
    until(lambda: result_of(plane, pdp, sibling) == "revoked", WITHIN)
    assert result_of(plane, pdp, root) == "revoked"


def test_a_standalone_pdp_refuses_what_other_pdps_refuse(
    scene: tuple[Plane, Pdp, Wire], signer: Signer
) -> None:
    plane, pdp, _ = scene
    (plane.folder / "alone" / "workspace" / "careful").write_text("with care")
    root = granted(plane, pdp, signer)
    (child,) = root.fork()
    assert result_of(plane, pdp, child, "careful") == "resource_out_of_scope"
    stolen = Agent(signer, child.did, root.chain)
    assert result_of(plane, pdp, stolen) == "chain_invalid"
    deepest = child
    for _ in range(6):
        (deepest,) = deepest.fork()
    assert len(deepest.chain) == 8
    assert result_of(plane, pdp, deepest) == "allowed"


def test_a_standalone_pdp_records_delegations_in_its_own_log(
    scene: tuple[Plane, Pdp, Wire], signer: Signer
) -> None:
    plane, pdp, _ = scene
    root = granted(plane, pdp, signer)
    (child,) = root.fork()
    (grandchild,) = child.fork(constraint=NOTE)
    for agent in (grandchild, child, grandchild):
        assert result_of(plane, pdp, agent) == "allowed"
    first, second, *calls = records(plane, root)
    assert [each["kind"] for each in (first, second)] == ["delegation", "delegation"]
    assert (first["agent"], second["agent"]) == (child.did, grandchild.did)
    assert (first["cid"], second["cid"]) == (child.cid, grandchild.cid)
    assert second["parent"] == first["id"]
    above = {child.did: first["id"], grandchild.did: second["id"]}
    assert [call["agent"] for call in calls] == [grandchild.did, child.did, grandchild.did]
    assert all(call["parent"] == above[call["agent"]] for call in calls)


def records(plane: Plane, root: Agent) -> list[dict[str, Any]]:
    """What the PDP that stands alone has in its database of a family."""
    (found,) = (plane.folder / "alone" / "data").glob("*.db")
    with sqlite3.connect(f"file:{found}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT text FROM records WHERE root = ? ORDER BY seq", (root.did,))
        return [json.loads(text) for (text,) in rows]
