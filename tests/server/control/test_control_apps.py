"""Apps: registered, rotated and disabled by operators, within their own permissions."""

from __future__ import annotations

import re
import secrets
from typing import Any

import httpx
import pytest
from server.control.conftest import Plane
from server.control.people import operator

from nomos._core import derived_key
from nomos.audit.record import Record
from nomos.server.domain.accounts import ApiKey
from nomos.server.storage.tenants import DEFAULT

pytestmark = pytest.mark.anyio


async def make(plane: Plane, who: dict[str, str], **body: Any) -> httpx.Response:
    return await plane.client.post("/v1/apps", json={"name": "a bot", **body}, headers=who)


async def works(plane: Plane, key: str) -> int:
    """The status of a question asked with this API key."""
    reply = await plane.ask({"authorization": f"Bearer {key}"})
    return reply.status_code


async def test_a_new_apps_key_works_and_is_shown_once(plane: Plane) -> None:
    who = await operator(plane, "*")
    reply = await make(plane, who, role="agent")
    made = reply.json()
    assert reply.status_code == 200
    assert (made["name"], made["role"], made["covers"]) == ("a bot", "agent", [])
    assert made["owner"] == who["x-app"]
    assert await works(plane, made["apiKey"]) == 200
    listed = await plane.client.get("/v1/apps", headers=who)
    assert made["id"] in [app["id"] for app in listed.json()["apps"]]
    assert made["apiKey"].rsplit("_", 1)[1] not in listed.text
    assert "apiKey" not in listed.text


async def test_every_act_is_recorded_with_its_operator_and_without_the_key(plane: Plane) -> None:
    who = await operator(plane, "lead")
    made = (await make(plane, who, role="operator", covers=["lead"])).json()
    rotated = await plane.client.post(f"/v1/apps/{made['id']}/rotate", headers=who)
    await plane.client.post(f"/v1/apps/{made['id']}/disable", headers=who)
    await plane.client.post(f"/v1/apps/{made['id']}/disable", headers=who)
    rows = [row for row in await plane.receipts() if row.kind == "app"]
    assert [row.act for row in rows] == ["disable", "rotate", "create"]
    assert {row.actor for row in rows} == {who["x-app"]}
    assert {row.app for row in rows} == {made["id"]}
    assert rows[0].detail == {"name": "a bot", "role": "operator", "covers": ["lead"]}
    for key in (made["apiKey"], rotated.json()["apiKey"]):
        assert key.rsplit("_", 1)[1] not in repr(rows)


async def test_one_of_two_operators_who_rotate_a_servers_app_gets_the_key(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await operator(plane, "*"), await operator(plane, "*")
    ident = re.findall(r"app_[0-9a-z]{26}", (await plane.another())["authorization"])[0]
    path, apps = f"/v1/apps/{ident}/rotate", plane.system.store.apps
    rotate, taken = apps.rotate, list[str]()

    async def after_the_other(key: ApiKey, receipt: Record, **more: Any) -> bool:
        monkeypatch.setattr(apps, "rotate", rotate)
        taken.append((await plane.client.post(path, headers=other)).json()["apiKey"])
        return await rotate(key, receipt, **more)

    monkeypatch.setattr(apps, "rotate", after_the_other)
    late = await plane.client.post(path, headers=one)
    assert (late.status_code, "changed by another operator" in late.text) == (400, True)
    assert await works(plane, taken[0]) == 200
    listed = (await plane.client.get("/v1/apps", headers=one)).json()["apps"]
    assert next(app for app in listed if app["id"] == ident)["owner"] == other["x-app"]


@pytest.mark.parametrize("ending", ["disable", "rotate"])
@pytest.mark.parametrize("what", ["create", "rotate", "confirm"])
async def test_an_operator_disabled_meanwhile_makes_or_confirms_no_account(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, what: str, ending: str
) -> None:
    chief, mallory = await operator(plane, "*"), await operator(plane, "*")
    body = {"role": "operator", "covers": ["*"]}
    by = chief if what == "confirm" else mallory
    made = (await make(plane, by, **body)).json()
    if what == "confirm":
        own = {"authorization": f"Bearer {made['apiKey']}"}
        await plane.client.post(f"/v1/apps/{made['id']}/rotate", headers=own)
    apps = plane.system.store.apps
    work = getattr(apps, what)

    async def after_the_end(*args: Any, **more: Any) -> bool:
        monkeypatch.setattr(apps, what, work)
        end = f"/v1/apps/{mallory['x-app']}/{ending}"
        ends = chief if ending == "disable" else mallory
        assert (await plane.client.post(end, headers=ends)).status_code == 200
        done: bool = await work(*args, **more)
        return done

    monkeypatch.setattr(apps, what, after_the_end)
    path = "/v1/apps" if what == "create" else f"/v1/apps/{made['id']}/{what}"
    late = await plane.client.post(path, json={"name": "x", **body}, headers=mallory)
    assert (late.status_code, late.json()["error_code"]) == (401, "invalid_api_key")
    listed = (await plane.client.get("/v1/apps", headers=chief)).json()["apps"]
    found = {app["id"]: app for app in listed}
    assert "x" not in [app["name"] for app in listed]
    assert "confirmedAt" not in found[made["id"]]


async def test_a_rotated_key_replaces_the_old_one_at_once(plane: Plane) -> None:
    who = await operator(plane, "*")
    made = (await make(plane, who, role="agent")).json()
    after = (await plane.client.post(f"/v1/apps/{made['id']}/rotate", headers=who)).json()
    assert after["id"] == made["id"]
    assert after["apiKey"] != made["apiKey"]
    assert (await works(plane, made["apiKey"]), await works(plane, after["apiKey"])) == (401, 200)


async def test_an_operator_keeps_role_and_covers_when_the_key_is_rotated(plane: Plane) -> None:
    who = await operator(plane, "lead", "security")
    after = await plane.client.post(f"/v1/apps/{who['x-app']}/rotate", headers=who)
    assert after.json()["covers"] == ["lead", "security"]
    old = await plane.client.get("/v1/apps", headers=who)
    new = {"authorization": f"Bearer {after.json()['apiKey']}"}
    assert old.status_code == 401
    assert (await plane.client.get("/v1/apps", headers=new)).status_code == 200


async def test_a_disabled_app_is_refused_and_gets_no_new_key(plane: Plane) -> None:
    who = await operator(plane, "*")
    made = (await make(plane, who, role="agent")).json()
    for _ in range(2):
        gone = await plane.client.post(f"/v1/apps/{made['id']}/disable", headers=who)
        assert gone.json()["disabledAt"] == gone.json()["createdAt"]
    assert await works(plane, made["apiKey"]) == 403
    refused = await plane.client.post(f"/v1/apps/{made['id']}/rotate", headers=who)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "invalid_request")
    assert "disabled" in refused.json()["error"]


async def test_an_operator_cannot_disable_the_own_account(plane: Plane) -> None:
    who = await operator(plane, "*")
    reply = await plane.client.post(f"/v1/apps/{who['x-app']}/disable", headers=who)
    assert reply.status_code == 400
    assert "another operator" in reply.json()["error"]


@pytest.mark.parametrize("wanted", [["security"], ["lead", "security"], ["*"]])
async def test_an_operator_cannot_make_a_key_that_covers_more(
    plane: Plane, wanted: list[str]
) -> None:
    who = await operator(plane, "lead")
    before = len((await plane.system.store.apps.all(DEFAULT)).found)
    reply = await make(plane, who, role="operator", covers=wanted)
    assert (reply.status_code, reply.json()["error_code"]) == (403, "forbidden")
    assert ("every role" if wanted == ["*"] else "security") in reply.json()["error"]
    assert len((await plane.system.store.apps.all(DEFAULT)).found) == before


@pytest.mark.parametrize("act", ["rotate", "disable"])
async def test_an_operator_cannot_take_over_an_account_that_covers_more(
    plane: Plane, act: str
) -> None:
    who, other = await operator(plane, "lead"), await operator(plane, "lead", "security")
    reply = await plane.client.post(f"/v1/apps/{other['x-app']}/{act}", headers=who)
    assert reply.status_code == 403
    assert (await plane.client.get("/v1/apps", headers=other)).status_code == 200
    assert not [row for row in await plane.receipts() if row.kind == "app"]


async def test_an_operator_who_covers_all_may_assign_any_role(plane: Plane) -> None:
    who = await operator(plane, "*")
    for covers in (["*"], ["security", "lead", "lead"]):
        made = (await make(plane, who, role="operator", covers=covers)).json()
        assert made["covers"] == sorted(set(covers))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "role"),
        ({"role": "root"}, "role"),
        ({"role": "agent", "name": ""}, "name"),
        ({"role": "agent", "name": "two\nlines"}, "name"),
        ({"role": "agent", "name": "x" * 101}, "name"),
        ({"role": "agent", "covers": ["lead"]}, "covers"),
        ({"role": "operator", "covers": "lead"}, "covers"),
        ({"role": "operator", "covers": ["a b"]}, "covers"),
        ({"role": "operator", "covers": ["a*"]}, "covers"),
        ({"role": "operator", "covers": ["x"] * 33}, "covers"),
        ({"role": "agent", "owner": "app_1"}, "owner"),
    ],
)
async def test_an_invalid_member_is_named(plane: Plane, body: dict[str, Any], field: str) -> None:
    reply = await make(plane, await operator(plane, "*"), **body)
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_request")
    assert any(name.startswith(field) for name in reply.json()["fields"]), reply.text


@pytest.mark.parametrize("act", ["rotate", "disable"])
async def test_a_missing_app_is_not_found(plane: Plane, act: str) -> None:
    who = await operator(plane, "*")
    reply = await plane.client.post(f"/v1/apps/app_{'0' * 26}/{act}", headers=who)
    assert (reply.status_code, reply.json()["error_code"]) == (404, "not_found")


async def test_the_registering_operator_is_recorded_as_the_owner(plane: Plane) -> None:
    """The owner that is recorded here is the one who may not approve."""
    who = await operator(plane, "*")
    made = (await make(plane, who, role="agent")).json()
    found = await plane.system.store.apps.find(DEFAULT, made["id"])
    assert found is not None
    assert found.app.owner == who["x-app"]


async def test_tenants_do_not_see_each_others_apps(plane: Plane) -> None:
    who = await operator(plane, "*")
    made = (await make(plane, who, role="agent")).json()
    assert await plane.system.store.apps.find("another", made["id"]) is None
    assert (await plane.system.store.apps.all("another")).found == ()


def again(who: dict[str, str], key: str) -> dict[str, str]:
    return who | {"idempotency-key": key}


async def test_a_repeated_creation_makes_one_app_with_one_key(plane: Plane) -> None:
    key = secrets.token_urlsafe(32)
    who, other = await operator(plane, "*"), await operator(plane, "*")
    first = await make(plane, again(who, key), role="agent")
    second = await make(plane, again(who, key), role="agent")
    assert first.status_code == second.status_code == 200
    same = ("id", "apiKey", "createdAt", "name")
    assert [first.json()[name] for name in same] == [second.json()[name] for name in same]
    assert await works(plane, first.json()["apiKey"]) == 200
    assert [row.act for row in await plane.receipts() if row.kind == "app"] == ["create"]
    theirs = await make(plane, again(other, key), role="agent")
    assert theirs.json()["id"] != first.json()["id"]
    assert theirs.json()["apiKey"] != first.json()["apiKey"]
    changed = await make(plane, again(who, key), role="auditor")
    assert (changed.status_code, changed.json()["error_code"]) == (409, "idempotency_conflict")
    await plane.client.post(f"/v1/apps/{first.json()['id']}/rotate", headers=who)
    over = await make(plane, again(who, key), role="agent")
    assert (over.status_code, over.json()["error_code"]) == (409, "idempotency_conflict")


async def test_a_repeated_rotation_gives_the_same_key(plane: Plane) -> None:
    who, key = await operator(plane, "*"), secrets.token_urlsafe(32)
    made = (await make(plane, who, role="agent")).json()
    path = f"/v1/apps/{made['id']}/rotate"
    first, second = [
        (await plane.client.post(path, headers=again(who, key))).json() for _ in range(2)
    ]
    assert first["apiKey"] == second["apiKey"] != made["apiKey"]
    assert await works(plane, first["apiKey"]) == 200
    assert await works(plane, made["apiKey"]) == 401
    acts = [row.act for row in await plane.receipts() if row.kind == "app"]
    assert acts == ["rotate", "create"]
    text = derived_key.derived_secret(key, operator=who["x-app"], app=made["id"])
    assert first["apiKey"] == f"nomos_{made['id']}_{text}"


@pytest.mark.parametrize("key", ["", "k", "a" * 43, "ab" * 21 + "a", "deploy-of-the-agents-app-1"])
async def test_a_key_that_is_not_random_derives_nothing(plane: Plane, key: str) -> None:
    who = await operator(plane, "*")
    reply = await make(plane, again(who, key), role="agent")
    assert reply.status_code == 400
    assert reply.json()["fields"] == ["Idempotency-Key"]
