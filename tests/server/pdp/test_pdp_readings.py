"""Tokens that Python and the binary could read differently: the binary's answer is the PDP's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import store_access
from readings import READABLE, UNREADABLE, rewritten, spare_bits

from nomos._core.unverified import MAX_IDS, read
from nomos._protocol import Answer, Refused, Request, Verify
from nomos.server.pdp.context import PdpContext
from nomos.server.pdp.routes import create_pdp

if TYPE_CHECKING:
    from server.pdp.conftest import World

READ = "/filesystem/file/read"
FILE = {"provider": "filesystem", "path": "f"}


class Counting:
    """The real signer, which keeps what it was asked."""

    def __init__(self, ports: PdpContext) -> None:
        self._signer = ports.signer
        self.asked: list[Request] = []

    async def ask(self, request: Request) -> Answer | Refused:
        self.asked.append(request)
        return await self._signer.ask(request)


def get(world: World, token: str, **changed: Any) -> tuple[httpx.Response, list[Request]]:
    counting = Counting(world.ports)
    ports = replace(world.ports, signer=counting, **changed)

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(create_pdp(ports))
        async with httpx.AsyncClient(transport=transport, base_url="http://pdp") as client:
            headers = {"authorization": f"Bearer {token}"}
            return await client.get(f"{READ}?path=f", headers=headers)

    return world.run(call()), counting.asked


@pytest.mark.parametrize("name", [*READABLE, *UNREADABLE])
def test_text_that_the_binary_refuses_is_malformed(world: World, name: str) -> None:
    """Nothing of it is recorded: neither what it claims nor the call that it came with."""
    (world.folder / "f").write_text("content")
    change = (READABLE | UNREADABLE)[name]
    token = rewritten(world.token(READ, FILE), change)
    assert (read(token, 8) is None) == (name in UNREADABLE)
    said, asked = get(world, token)
    assert (said.status_code, said.json()["error_code"]) == (401, "malformed_ucan")
    assert "hop" not in said.json()
    assert [type(request) for request in asked] == [Verify]
    (row,) = world.receipts(said)
    assert (row.reason, row.resource, row.args) == ("malformed_ucan", {}, None)
    assert (row.agent, row.root, row.cid) == (None, None, None)


def test_another_text_of_the_same_bytes_is_malformed(world: World) -> None:
    tokens = [world.token(READ, FILE, {"n": "x" * more}) for more in range(3)]
    loose = [spare_bits(token) for token in tokens if len(token.split(".")[1]) % 4]
    assert loose
    for token in loose:
        said, _ = get(world, token)
        assert (said.status_code, said.json()["error_code"]) == (401, "malformed_ucan")


@pytest.mark.parametrize("name", sorted({*READABLE, *UNREADABLE} - {"no list of links"}))
def test_a_link_that_the_binary_refuses_is_named_by_its_hop(world: World, name: str) -> None:
    change = (READABLE | UNREADABLE)[name]
    root = rewritten(world.grant(READ, FILE).jwt, change)
    said, asked = get(world, world.invoke(READ, FILE, {}, [root]))
    assert (said.status_code, said.json()["error_code"]) == (401, "malformed_ucan")
    assert said.json()["hop"] == 0
    assert [type(request) for request in asked] == [Verify]


def test_an_unreadable_token_is_recorded_for_no_tenant(world: World) -> None:
    """Its `sub` names one of them, but that is no more than bytes."""
    tenants = {**world.ports.trusted_issuers, world.dids["other_issuer"]: "other"}
    before = len(world.run(store_access.receipts(world.store.store, "acme", 10_000)))
    token = rewritten(world.token(READ, FILE), READABLE["spaces"])
    said, _ = get(world, token, trusted_issuers=tenants)
    assert said.json()["error_code"] == "malformed_ucan"
    assert len(world.run(store_access.receipts(world.store.store, "acme", 10_000))) == before


def test_a_token_that_names_too_many_others_is_not_looked_up(world: World) -> None:
    class Unasked:
        async def lookup(self, ids: object) -> Any:
            raise AssertionError("looked up")

    lineage = {"invokedBy": [f"{number}" for number in range(MAX_IDS)], "depth": 1}
    token = world.token(READ, FILE, meta={"lineage": lineage})
    said, asked = get(world, token, revocations=Unasked())
    assert (said.status_code, said.json()["error_code"]) == (401, "malformed_ucan")
    assert asked == []


def test_a_view_from_the_future_is_stale(world: World) -> None:
    world.view.age = -1
    said = world.call("GET", READ, world.token(READ, FILE), params={"path": "f"})
    assert (said.status_code, said.json()["error_code"]) == (503, "revocations_stale")
