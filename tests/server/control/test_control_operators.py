"""Accounts of one person count as one, however they are made, taken over or signed in to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from server.control.people import ISSUE, POLICY, asked, decide, operator, seen

from nomos.server.domain.account_lines import MAX_LINE
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx
    from server.control.conftest import OpenPlane, Plane

    from nomos._io.signer import AsyncSigner

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


Who = dict[str, str]


def bearer(app: dict[str, Any]) -> Who:
    return {"authorization": f"Bearer {app['apiKey']}", "x-app": str(app["id"])}


async def act(plane: Plane, who: Who, ident: str, what: str) -> httpx.Response:
    return await plane.client.post(f"/v1/apps/{ident}/{what}", headers=who)


async def made(plane: Plane, who: Who, role: str = "operator", *covers: str) -> Who:
    body = {"name": "made", "role": role, **({"covers": list(covers)} if covers else {})}
    reply = await plane.client.post("/v1/apps", json=body, headers=who)
    assert reply.status_code == 200, reply.text
    return bearer(reply.json())


async def taken(plane: Plane, who: Who) -> Who:
    """The same account after its own person replaced the key."""
    reply = await act(plane, who, who["x-app"], "rotate")
    assert reply.status_code == 200, reply.text
    return bearer(reply.json())


async def asks(plane: Plane, bot: Who, **question: Any) -> str:
    reply = (await plane.ask(bot, **{**ISSUE, **question})).json()
    assert reply["decision"] == "requires_step_up", reply
    envelope: str = reply["approvalEnvelopeId"]
    return envelope


async def status(plane: Plane, who: Who, envelope: str) -> int:
    return (await decide(plane, who, envelope)).status_code


async def test_key_rotation_does_not_split_a_line_of_accounts(
    plane: Plane,
) -> None:
    root = await operator(plane, "*")
    olga = await taken(plane, await made(plane, root, "operator", "lead"))
    paul = await taken(plane, await made(plane, olga, "operator", "lead"))
    quinn = await taken(plane, await taken(plane, await made(plane, paul, "operator", "lead")))
    bots = [await made(plane, each, "agent") for each in (root, olga, paul, quinn)]
    for number, bot in enumerate(bots):
        envelope = await asks(plane, bot, args={"title": f"{number}"})
        for who in (root, olga, paul, quinn):
            assert await status(plane, who, envelope) == 403
        assert await status(plane, await operator(plane, "lead"), envelope) == 200


async def test_a_sign_in_link_does_not_confirm_an_account(plane: Plane) -> None:
    olga = await operator(plane, "lead")
    paul = await taken(plane, await made(plane, olga, "operator", "lead"))
    link = await plane.client.post("/v1/login-links", headers=paul)
    token = link.json()["url"].partition("token=")[2]
    page = await plane.client.get(f"/approvals/login?token={token}")
    csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
    begun = await plane.client.post("/approvals/login", data={"csrf": csrf, "secret": token})
    assert begun.status_code == 303
    envelope = await asks(plane, await made(plane, olga, "agent"))
    shown = await plane.client.get(f"/approvals/{envelope}")
    assert "You cannot decide this request." in shown.text
    csrf = shown.text.partition('name="csrf" value="')[2].partition('"')[0]
    version = (await seen_by(plane, paul, envelope))["version"]
    form = {"csrf": csrf, "version": version, "decision": "approve"}
    assert (await plane.client.post(f"/approvals/{envelope}", data=form)).status_code == 403


async def seen_by(plane: Plane, who: Who, envelope: str) -> dict[str, Any]:
    view: dict[str, Any] = (await plane.client.get(f"/v1/approvals/{envelope}", headers=who)).json()
    return view


async def test_only_an_operator_outside_of_the_line_confirms(plane: Plane) -> None:
    root, other = await operator(plane, "*"), await operator(plane, "lead")
    weak = await operator(plane, "security")
    olga = await taken(plane, await made(plane, root, "operator", "lead"))
    paul = await taken(plane, await made(plane, olga, "operator", "lead"))
    puppet = await taken(plane, await made(plane, root, "operator", "lead"))
    for who in (root, olga, paul, puppet, weak):
        for account in (olga, paul):
            refused = await act(plane, who, account["x-app"], "confirm")
            assert refused.status_code == 403, refused.text
    envelope = await asks(plane, await made(plane, root, "agent"))
    assert await status(plane, olga, envelope) == 403
    confirmed = (await act(plane, other, olga["x-app"], "confirm")).json()
    assert confirmed["confirmedBy"] == other["x-app"]
    assert (await act(plane, other, olga["x-app"], "confirm")).json() == confirmed
    assert await status(plane, olga, envelope) == 200
    # Paul was registered before, perhaps by the first operator. Pia counts as Olga alone.
    plane.clock.now += 1
    pia = await taken(plane, await made(plane, olga, "operator", "lead"))
    envelope = await asks(plane, await made(plane, root, "agent"), args={"title": "2"})
    assert await status(plane, paul, envelope) == 403
    assert await status(plane, pia, envelope) == 200
    envelope = await asks(plane, await made(plane, olga, "agent"), args={"title": "3"})
    assert await status(plane, paul, envelope) == 403
    assert await status(plane, pia, envelope) == 403
    rows = [row for row in await plane.receipts() if row.act == "confirm"]
    assert [(row.actor, row.app) for row in rows] == [(other["x-app"], olga["x-app"])]


async def test_an_account_with_a_key_seen_by_its_owner_cannot_be_confirmed(plane: Plane) -> None:
    olga, other = await operator(plane, "lead"), await operator(plane, "lead")
    paul = await made(plane, olga, "operator", "lead")
    refused = await act(plane, other, paul["x-app"], "confirm")
    assert refused.status_code == 400
    assert f"nomos apps rotate {paul['x-app']}" in refused.json()["error"]
    await taken(plane, paul)
    assert (await act(plane, olga, paul["x-app"], "rotate")).status_code == 200
    assert (await act(plane, other, paul["x-app"], "confirm")).status_code == 400


async def test_a_confirmed_account_cannot_be_taken_over(plane: Plane) -> None:
    olga, other = await operator(plane, "*"), await operator(plane, "*")
    paul = await taken(plane, await made(plane, olga, "operator", "lead"))
    assert (await act(plane, other, paul["x-app"], "confirm")).status_code == 200
    for who in (olga, other):
        assert (await act(plane, who, paul["x-app"], "rotate")).status_code == 403
    again = await taken(plane, paul)
    envelope = await asks(plane, await made(plane, olga, "agent"))
    assert await status(plane, again, envelope) == 200


@pytest.mark.parametrize("role", ["agent", "auditor"])
async def test_only_operator_accounts_are_confirmed(plane: Plane, role: str) -> None:
    root, other = await operator(plane, "*"), await operator(plane, "*")
    app = await made(plane, root, role)
    assert (await act(plane, other, app["x-app"], "confirm")).status_code == 403
    assert (await act(plane, other, root["x-app"], "confirm")).status_code == 400
    gone = await made(plane, root, "operator")
    await act(plane, root, gone["x-app"], "disable")
    assert (await act(plane, other, gone["x-app"], "confirm")).status_code == 400


async def test_a_servers_app_is_taken_over_only_by_an_operator_who_covers_all(
    plane: Plane,
) -> None:
    olga, weak = await operator(plane, "lead", "security"), await operator(plane)
    for who in (olga, weak):
        assert (await act(plane, who, plane.app, "rotate")).status_code == 403
    auditor = (await plane.system.create_app("a", "auditor")).reveal()
    ident = auditor.removeprefix("nomos_").rsplit("_", 1)[0]
    assert (await act(plane, olga, ident, "rotate")).status_code == 403
    root = await operator(plane, "*")
    assert (await act(plane, root, ident, "rotate")).json()["owner"] == root["x-app"]


async def test_taking_over_an_app_cancels_the_own_approvals_of_it(plane: Plane) -> None:
    """An approval of before is their own, as soon as the app is."""
    root, other = await operator(plane, "*"), await operator(plane, "*")
    envelope = await asked(plane, **ISSUE)
    assert await status(plane, root, envelope) == 200
    bot = bearer((await act(plane, root, plane.app, "rotate")).json())
    used = (await plane.ask(bot, **ISSUE, cosignerEnvelopeId=envelope)).json()
    assert (used["decision"], used["explanation"]["fields"]) == ("deny", ["roles"])
    again = await asks(plane, bot)
    assert again != envelope
    assert await status(plane, root, again) == 403
    assert await status(plane, other, again) == 200


async def test_an_account_of_a_disabled_owner_still_counts_as_the_owner(plane: Plane) -> None:
    root = await operator(plane, "*")
    olga = await operator(plane, "lead")
    paul = await taken(plane, await made(plane, olga, "operator", "lead"))
    bot = await made(plane, olga, "agent")
    assert (await act(plane, root, olga["x-app"], "disable")).status_code == 200
    assert await status(plane, paul, await asks(plane, bot)) == 403


async def test_accounts_of_one_person_cannot_approve_for_each_other(plane: Plane) -> None:
    """Neither the one who asks, nor one that it made for a role that it does not use."""
    both = await operator(plane, "lead", "security")
    lead = await taken(plane, await made(plane, both, "operator", "lead"))
    security = await taken(plane, await made(plane, both, "operator", "security"))
    bot = await made(plane, lead, "agent")
    reply = (await plane.ask(bot, command="/github/repo/delete")).json()
    for who in (both, lead, security):
        assert await status(plane, who, reply["approvalEnvelopeId"]) == 403
    assert (await seen_by(plane, both, reply["approvalEnvelopeId"]))["approvedRoles"] == []


async def test_the_length_of_a_line_is_bounded(plane: Plane) -> None:
    who = await operator(plane, "lead")
    for _ in range(MAX_LINE - 1):
        who = await made(plane, who, "operator", "lead")
    body = {"name": "more", "role": "operator"}
    refused = await plane.client.post("/v1/apps", json=body, headers=who)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "invalid_request")
    assert f"at most {MAX_LINE} accounts" in refused.json()["error"]
    await made(plane, who, "agent")


async def test_the_last_operator_who_covers_all_cannot_be_disabled(plane: Plane) -> None:
    one, two = await operator(plane, "*"), await operator(plane, "*")
    weak = await operator(plane, "lead")

    async def revoke(who: Who, ident: str) -> httpx.Response:
        return await plane.client.post("/v1/revocations", json={"id": ident}, headers=who)

    for who in (one, two):
        assert (await revoke(weak, who["x-app"])).status_code == 403
    assert (await act(plane, one, two["x-app"], "disable")).status_code == 200
    for reply in (await revoke(one, one["x-app"]), await act(plane, one, one["x-app"], "disable")):
        assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_request")
    again = await made(plane, one, "operator", "*")
    assert (await revoke(one, one["x-app"])).status_code == 200
    refused = await revoke(again, again["x-app"])
    assert "nomos operators create" in refused.json()["error"]
    assert (await plane.client.get("/v1/apps", headers=again)).status_code == 200


async def test_two_operators_who_disable_each_other_leave_one(plane: Plane) -> None:
    import asyncio

    pair = [await operator(plane, "*") for _ in range(2)]
    replies = await asyncio.gather(
        act(plane, pair[0], pair[1]["x-app"], "disable"),
        act(plane, pair[1], pair[0]["x-app"], "disable"),
    )
    assert sorted(reply.status_code for reply in replies) in ([200, 400], [200, 403])
    found = (await plane.system.store.apps.all(DEFAULT)).found
    left = [each for each in found if each.role == "operator" and each.disabled_at is None]
    assert len(left) == 1


async def test_a_question_looks_the_same_to_its_own_app(plane: Plane) -> None:
    envelope = await asked(plane, **ISSUE)
    mine = await seen(plane, envelope)
    theirs = await seen_by(plane, await operator(plane, "*"), envelope)
    assert mine["version"] == theirs["version"]


async def test_an_account_registered_before_the_confirmation_counts_as_both(plane: Plane) -> None:
    """Its maker's maker had that key as well, and could have registered it."""
    olga, other = await operator(plane, "lead"), await operator(plane, "lead")
    paul = await made(plane, olga, "operator", "lead")
    bot = await made(plane, paul, "agent")
    quinn = await taken(plane, await made(plane, paul, "operator", "lead"))
    paul = await taken(plane, paul)
    assert (await act(plane, other, paul["x-app"], "confirm")).status_code == 200
    plane.clock.now += 1
    for who in (olga, paul, quinn):
        assert await status(plane, who, await asks(plane, bot)) == 403
    for maker in (olga, paul):
        later = await made(plane, maker, "agent")
        assert await status(plane, quinn, await asks(plane, later)) == 403
    # What Paul registers from now on is his alone.
    envelope = await asks(plane, await made(plane, paul, "agent"))
    assert await status(plane, olga, envelope) == 200
