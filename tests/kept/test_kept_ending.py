"""Damaged accounts can be disabled, and give no permission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from data_folders import Running, bearer, opened
from kept.test_kept_listings import BYTES, HALF, NO_UTF8, QUESTIONS, change

from nomos._io.signer import SignerConnection

pytestmark = pytest.mark.anyio


class Scene:
    """A system whose requests are those of an operator who covers every role."""

    def __init__(self, path: Path, running: Running, boss: str) -> None:
        self.path, self.running, self.boss = path, running, boss

    async def post(self, path: str, key: str | None = None, **body: Any) -> tuple[int, Any]:
        headers = bearer(key or self.boss)
        reply = await self.running.control.post(path, json=body, headers=headers)
        return reply.status_code, reply.json()

    async def made(self, role: str, *covers: str, by: str | None = None) -> tuple[str, str]:
        more = {"covers": list(covers)} if covers else {}
        status, app = await self.post("/v1/apps", by, name="made", role=role, **more)
        assert status == 200, app
        return app["id"], app["apiKey"]

    async def works(self, key: str) -> bool:
        reply = await self.running.control.get("/v1/approvals", headers=bearer(key))
        return reply.status_code == 200


@pytest.fixture
async def scene(tmp_path: Path, link: SignerConnection) -> Any:
    async with opened(tmp_path / "data", link, policies=(QUESTIONS,)) as running:
        boss = await running.system.create_app("boss", "operator", ("*",))
        yield Scene(tmp_path, running, boss.reveal())


@pytest.fixture(params=["disable", "revoke"])
def end(request: pytest.FixtureRequest) -> Any:
    async def end(scene: Scene, ident: str, key: str | None = None) -> tuple[int, Any]:
        if request.param == "disable":
            return await scene.post(f"/v1/apps/{ident}/disable", key)
        return await scene.post("/v1/revocations", key, id=ident)

    return end


@pytest.mark.parametrize("how", [NO_UTF8, HALF, "'\"x\"'"])
async def test_an_operator_with_damaged_roles_can_be_disabled(
    scene: Scene, end: Any, how: str
) -> None:
    alice, _ = await scene.made("operator", "lead")
    rogue, _ = await scene.made("agent")
    assert change(scene.path, "api_keys", "covers", how, f"app = '{alice}'") == 1
    assert (await end(scene, rogue))[0] == 200
    # It is no way in: the last one who covers every role is still the last.
    _, lead = await scene.made("operator", "lead")
    boss = scene.boss.removeprefix("nomos_").rpartition("_")[0]
    assert (await end(scene, boss, lead))[0] == 403
    assert (await scene.post("/v1/revocations", id=boss))[0] == 400


@pytest.mark.parametrize(
    ("table", "column", "how"),
    [
        ("apps", "name", NO_UTF8),
        ("apps", "name", BYTES),
        ("apps", "owner", NO_UTF8),
        ("apps", "created_at", "'soon'"),
        ("api_keys", "covers", NO_UTF8),
        ("api_keys", "role", "'king'"),
    ],
)
async def test_a_damaged_operator_can_be_disabled(
    scene: Scene, end: Any, table: str, column: str, how: str
) -> None:
    ident, key = await scene.made("operator", "lead")
    bot, _ = await scene.made("agent", by=key)
    where = f"{'id' if table == 'apps' else 'app'} = '{ident}'"
    assert change(scene.path, table, column, how, where) == 1
    status, said = await end(scene, ident)
    assert status == 200, said
    assert (said["left"], [each["id"] for each in said["leftApps"]]) == (1, [bot])
    assert not await scene.works(key)


@pytest.mark.parametrize("how", [NO_UTF8, "'\"x\"'"])
async def test_an_operator_with_unknown_roles_is_disabled_by_one_who_covers_all(
    scene: Scene, end: Any, how: str
) -> None:
    ident, _ = await scene.made("operator", "lead")
    _, lead = await scene.made("operator", "lead", "x")
    change(scene.path, "api_keys", "covers", how, f"app = '{ident}'")
    assert (await end(scene, ident, lead))[0] == 403
    assert (await end(scene, ident))[0] == 200


@pytest.mark.parametrize(("column", "how"), [("name", NO_UTF8), ("owner", NO_UTF8)])
async def test_damaged_remaining_accounts_are_listed(
    scene: Scene, end: Any, column: str, how: str
) -> None:
    alice, alices = await scene.made("operator", "lead")
    bob, bobs = await scene.made("operator", "lead", by=alices)
    change(scene.path, "apps", column, how, f"id = '{bob}'")
    assert await scene.works(bobs)
    status, said = await end(scene, alice)
    assert status == 200, said
    assert (said["left"], [each["id"] for each in said["leftApps"]]) == (1, [bob])


# People


async def approve(scene: Scene, key: str, envelope: str) -> tuple[int, Any]:
    path = f"/v1/approvals/{envelope}"
    reply = await scene.running.control.get(path, headers=bearer(scene.boss))
    assert reply.status_code == 200, reply.text
    version = reply.json()["version"]
    return await scene.post(f"{path}/decide", key, approve=True, version=version)


async def test_a_vote_of_no_account_does_not_count(scene: Scene) -> None:
    alice, alices = await scene.made("operator", "*")
    asked = (await scene.running.ask(ttlSeconds=60)).json()["approvalEnvelopeId"]
    assert (await approve(scene, alices, asked))[1]["state"] == "approved"
    await scene.post(f"/v1/apps/{alice}/disable")
    change(scene.path, "votes", "operator", "'app_nobody'")
    reply = await scene.running.ask(ttlSeconds=60, cosignerEnvelopeId=asked)
    assert reply.json().get("decision") != "allow", reply.text


@pytest.mark.parametrize("how", ["'app_nobody'", NO_UTF8])
async def test_an_operator_with_a_damaged_owner_cannot_approve(scene: Scene, how: str) -> None:
    """It may be the account of who asked."""
    ident, key = await scene.made("operator", "*")
    asked = (await scene.running.ask(ttlSeconds=60)).json()["approvalEnvelopeId"]
    assert (await approve(scene, key, asked))[1]["state"] == "approved"
    change(scene.path, "apps", "owner", how, f"id = '{ident}'")
    reply = await scene.running.ask(ttlSeconds=60, cosignerEnvelopeId=asked)
    assert reply.json().get("decision") != "allow", reply.text
    other = {"provider": "filesystem", "path": "b.txt"}
    again = (await scene.running.ask(ttlSeconds=60, resource=other)).json()["approvalEnvelopeId"]
    status, said = await approve(scene, key, again)
    assert (status, "that registered" in str(said)) == (503, True)


async def test_a_question_of_an_app_with_a_damaged_owner_cannot_be_approved(
    scene: Scene,
) -> None:
    """No operator can be proven to be another person than the asker."""
    ident, key = await scene.made("agent")
    body: dict[str, Any] = {"command": "/filesystem/file/read", "ttlSeconds": 60}
    body["resource"] = {"provider": "filesystem", "path": "a.txt"}
    _, said = await scene.post("/v1/authorize", key, **body)
    asked = said["approvalEnvelopeId"]
    _, other = await scene.made("operator", "*")
    change(scene.path, "apps", "owner", "'app_nobody'", f"id = '{ident}'")
    path = f"/v1/approvals/{asked}"
    reply = await scene.running.control.get(path, headers=bearer(other))
    assert (reply.status_code, f"approval {asked} is damaged" in reply.text) == (503, True)
