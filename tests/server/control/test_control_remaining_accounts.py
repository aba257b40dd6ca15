"""Remaining accounts of an operator who is disabled or gets a new key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from server.control.people import operator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.control.conftest import OpenPlane, Plane

    from nomos._io.signer import AsyncSigner

pytestmark = pytest.mark.anyio

Who = dict[str, str]


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer) as plane:
        yield plane


async def post(plane: Plane, who: Who, path: str, **body: Any) -> dict[str, Any]:
    reply = await plane.client.post(path, json=body or None, headers=who)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def made(plane: Plane, who: Who, role: str, *covers: str) -> Who:
    covered = {"covers": list(covers)} if covers else {}
    app = await post(plane, who, "/v1/apps", name="made", role=role, **covered)
    return {"authorization": f"Bearer {app['apiKey']}", "x-app": str(app["id"])}


async def own(plane: Plane, who: Who) -> Who:
    """The account's person replaces its key."""
    after = await post(plane, who, f"/v1/apps/{who['x-app']}/rotate")
    return {"authorization": f"Bearer {after['apiKey']}", "x-app": who["x-app"]}


def named(reply: dict[str, Any], *expected: Who) -> None:
    assert {each["id"] for each in reply["leftApps"]} == {each["x-app"] for each in expected}
    assert reply["left"] == len(expected)


async def disabled(plane: Plane, by: Who, who: Who) -> dict[str, Any]:
    return await post(plane, by, f"/v1/apps/{who['x-app']}/disable")


async def revoked(plane: Plane, by: Who, who: Who) -> dict[str, Any]:
    return await post(plane, by, "/v1/revocations", id=who["x-app"])


@pytest.mark.parametrize("end", [disabled, revoked])
async def test_disabling_an_operator_lists_its_remaining_accounts(plane: Plane, end: Any) -> None:
    root, other = await operator(plane, "*"), await operator(plane, "*")
    bad = await made(plane, root, "operator", "lead")
    bot, auditor = await made(plane, bad, "agent"), await made(plane, bad, "auditor")
    puppet = await made(plane, bad, "operator", "lead")
    deeper = await made(plane, puppet, "agent")
    replaced = await own(plane, await made(plane, bad, "operator", "lead"))
    gone = await made(plane, bad, "agent")
    await disabled(plane, root, gone)
    colleague = await own(plane, await made(plane, bad, "operator", "lead"))
    plane.clock.now += 5
    await post(plane, other, f"/v1/apps/{colleague['x-app']}/confirm")
    plane.clock.now += 5
    await made(plane, colleague, "agent")
    await made(plane, root, "agent")
    for _ in range(2):  # the second time nothing is done, and the reply is the same
        named(await end(plane, root, bad), bot, auditor, puppet, deeper, replaced)
    await disabled(plane, root, puppet)
    named(await end(plane, root, bad), bot, auditor, deeper, replaced)
    assert (await plane.client.get("/v1/apps", headers=puppet)).status_code != 200
    # They are not ended with it.
    assert (await plane.client.get("/v1/apps", headers=replaced)).status_code == 200


async def test_rotating_a_key_lists_remaining_accounts(plane: Plane) -> None:
    root = await operator(plane, "*")
    bot = await made(plane, root, "agent")
    named(await post(plane, root, f"/v1/apps/{root['x-app']}/rotate"), bot)


async def test_an_agents_app_has_no_remaining_accounts(plane: Plane) -> None:
    root = await operator(plane, "*")
    bot = await made(plane, root, "agent")
    for reply in (
        await post(plane, root, f"/v1/apps/{bot['x-app']}/rotate"),
        await disabled(plane, root, bot),
        await revoked(plane, root, bot),
    ):
        assert "left" not in reply
        assert "leftApps" not in reply
