"""Agents of one chain that sign delegations without a check."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from server.pdp.conftest import World

    from nomos._protocol import Signed

READ, WRITE = "/filesystem/file/read", "/filesystem/file/write"
FILES = "/filesystem/file"
RECEIPT = "evt_1123456789abcdefghjkmnpqrs"
APP = "app_1123456789abcdefghjkmnpqrs"


def file(path: str) -> dict[str, str]:
    return {"provider": "filesystem", "path": path}


@dataclass
class ChainHolder:
    """An agent and the delegations that it holds, root first."""

    world: World
    did: str
    links: tuple[Signed, ...]

    @property
    def chain(self) -> list[str]:
        return [link.jwt for link in self.links]

    @property
    def cid(self) -> str:
        return self.links[-1].cid

    def delegate(
        self, to: str, command: str = READ, path: str | None = "notes", **more: Any
    ) -> ChainHolder:
        """Delegate without any check, as a hostile parent can."""
        resource = None if path is None else file(path)
        link = self.world.grant(
            command, resource, by=self.did, to=to, **{"prf": [self.cid], **more}
        )
        return ChainHolder(self.world, to, (*self.links, link))

    def token(
        self, path: str, command: str = READ, *, chain: Sequence[str] | None = None, **more: Any
    ) -> str:
        given = self.chain if chain is None else chain
        args = more.pop("args", {})
        return self.world.invoke(command, file(path), args, given, by=self.did, **more)

    def read(self, path: str, **more: Any) -> httpx.Response:
        """Read a file through the PDP, with a token made for that."""
        return self.world.call("GET", READ, self.token(path, **more), params={"path": path})

    def write(self, path: str, content: str, **more: Any) -> httpx.Response:
        token = self.token(path, WRITE, **more)
        return self.world.call("PUT", WRITE, token, json={"path": path, "content": content})


def root(
    world: World,
    did: str,
    command: str = FILES,
    path: str | None = "notes",
    *,
    meta: Mapping[str, Any] | None = None,
    **more: Any,
) -> ChainHolder:
    """An agent that holds a root of the issuer."""
    named = {"app_id": APP, "receipt_id": RECEIPT, **(meta or {})}
    resource = None if path is None else file(path)
    return ChainHolder(world, did, (world.grant(command, resource, to=did, meta=named, **more),))


def agent_chain(world: World, did: Callable[[], str], depth: int, **more: Any) -> list[ChainHolder]:
    """`depth` agents, each with all that the one before it has."""
    first = root(world, did(), **more)
    return list(
        itertools.accumulate(
            range(1, depth), lambda held, _: held.delegate(did(), FILES), initial=first
        )
    )
