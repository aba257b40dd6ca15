"""Agents with keys of their own: they delegate to each other and ask with their chains."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx

from nomos._io.signer import AsyncSigner
from nomos._protocol import (
    Delegate,
    Delegation,
    GenerateKey,
    GenerateKeyAnswer,
    Invocation,
    Invoke,
    LoadKey,
    LoadKeyAnswer,
    Signed,
)

if TYPE_CHECKING:
    from server.control.conftest import Plane

NOW: Final = 1_800_000_000
REPO: Final[Mapping[str, Any]] = {"provider": "github", "owner": "acme", "repo": "app"}
_numbers = itertools.count()


async def key(signer: AsyncSigner, number: int) -> str:
    """The DID of an agent that keeps its own key."""
    answer = await signer.ask(LoadKey(seed=f"{number:02x}" * 32))
    assert isinstance(answer, LoadKeyAnswer)
    return answer.key


async def new_did(signer: AsyncSigner) -> str:
    """The DID of an agent that is new to the server."""
    answer = await signer.ask(GenerateKey())
    assert isinstance(answer, GenerateKeyAnswer)
    return answer.key


def cid(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class ChainAgent:
    """An agent and the chain that it holds, root first."""

    plane: Plane = field(repr=False)
    signer: AsyncSigner = field(repr=False)
    did: str
    chain: tuple[str, ...] = ()

    @property
    def root(self) -> dict[str, Any]:
        return self.plane.payload(self.chain[0])

    @property
    def leaf(self) -> dict[str, Any]:
        return self.plane.payload(self.chain[-1])

    @property
    def constraint(self) -> dict[str, Any]:
        for token in reversed(self.chain):
            found = self.plane.payload(token).get("meta", {}).get("resource_constraint")
            if found is not None:
                return dict(found)
        return {}

    async def fork(
        self, did: str, /, *, meta: Mapping[str, Any] | None = None, **more: Any
    ) -> ChainAgent:
        """Delegate to `did` what is held, with changes; attenuation is not checked here."""
        held = self.leaf
        claims = {
            "iss": self.did,
            "aud": did,
            "sub": self.root["iss"],
            "cmd": held["cmd"],
            "pol": [],
            "nonce": f"fork-{next(_numbers)}",
            "nbf": held["nbf"],
            "exp": held["exp"],
            "meta": None if meta is None else dict(meta),
            "prf": [cid(self.chain[-1])],
        }
        payload = Delegation(**{**claims, **more})
        answer = await self.signer.ask(Delegate(key=self.did, payload=payload, allow_vacuous=True))
        assert isinstance(answer, Signed), answer
        return ChainAgent(self.plane, self.signer, did, (*self.chain, answer.jwt))

    async def sign(self, cmd: str, args: Mapping[str, Any], **more: Any) -> str:
        """An invocation to the issuer of the root."""
        now = int(self.plane.clock())
        root = self.root["iss"] if self.chain else self.plane.system.issuer_did
        claims = {
            "iss": self.did,
            "aud": root,
            "sub": root,
            "cmd": cmd,
            "args": dict(args),
            "nonce": f"invocation-{next(_numbers)}",
            "iat": now - 60,
            "exp": min(now + 60, self._end()),
            "prf": list(self.chain),
        }
        payload = Invocation(**{**claims, **more})
        answer = await self.signer.ask(Invoke(key=self.did, payload=payload))
        assert isinstance(answer, Signed), answer
        return answer.jwt

    def _end(self) -> int:
        """When the chain ends; later for one of which nothing can be read."""
        try:
            return int(self.leaf["exp"])
        except (IndexError, ValueError):
            return NOW + 3600

    async def ask(
        self,
        command: str,
        resource: Mapping[str, Any] = REPO,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        signed: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Ask without an API key: sign the question, with the `signed` claims changed."""
        body = {"command": command, "resource": dict(resource), **more}
        args = {"resource": dict(resource), **(more.get("args") or {})}
        token = await self.sign(**{"cmd": command, "args": args, **(signed or {})})
        sent = {"authorization": f"Bearer {token}", **(headers or {})}
        return await self.plane.client.post("/v1/authorize", json=body, headers=sent)

    async def ask_with_key(
        self, command: str, resource: Mapping[str, Any] = REPO, /, **more: Any
    ) -> httpx.Response:
        """Ask with the app's API key, and the chain beside the question."""
        sent = {"agentDid": self.did, "delegatedChain": list(self.chain), **more}
        body = {"command": command, "resource": dict(resource), **sent}
        return await self.plane.client.post("/v1/authorize", json=body)

    async def request(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        *,
        signed: Mapping[str, Any] | None = None,
        query: str = "",
    ) -> httpx.Response:
        """Send a request that is no question."""
        said = {
            "resource": self.constraint,
            "method": method,
            "path": path,
            "body": hashlib.sha256(content).hexdigest(),
        }
        token = await self.sign(**{"cmd": self.leaf["cmd"], "args": said, **(signed or {})})
        return await self.plane.client.request(
            method, path + query, content=content, headers={"authorization": f"Bearer {token}"}
        )


async def root_of(
    plane: Plane, signer: AsyncSigner, did: str, command: str = "/github", **more: Any
) -> ChainAgent:
    """An agent that the app asked for."""
    question = {"command": command, "resource": dict(REPO), "agentDid": did, **more}
    answer = (await plane.ask(**question)).json()
    assert answer["decision"] == "allow", answer
    return ChainAgent(plane, signer, did, tuple(answer["chain"]))


async def agent_chain(
    plane: Plane, signer: AsyncSigner, depth: int, command: str = "/github", **more: Any
) -> Sequence[ChainAgent]:
    """A root agent and its descendants, each with all that the one before it has."""
    agents = [await root_of(plane, signer, await key(signer, 0x51), command, **more)]
    for generation in range(1, depth):
        agents.append(await agents[-1].fork(await key(signer, 0x51 + generation)))
    return agents
