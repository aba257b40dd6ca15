"""Votes: who may give them, and their effect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from server.control.people import DELETE, ISSUE, POLICY, approved, asked, decide, operator, seen

from nomos._io.signer import AsyncSigner
from nomos.server.control import credentials
from nomos.server.control.approval_view import ApprovalReply
from nomos.server.domain.accounts import App
from nomos.server.storage import api_keys
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


ROLES: dict[str, tuple[list[tuple[str, ...]], list[str]]] = {
    "both at once": ([("lead", "security")], ["approved"]),
    "any role": ([("*",)], ["approved"]),
    "one after the other": ([("lead",), ("security",)], ["pending", "approved"]),
    "in the other order": ([("security",), ("lead",)], ["pending", "approved"]),
    "another role": ([("intern",)], ["forbidden"]),
    "no role": ([()], ["forbidden"]),
    "in other letters": ([("Lead", "lead ")], ["forbidden"]),
    "a role that has approved": ([("lead",), ("lead",)], ["pending", "forbidden"]),
    "too late": ([("*",), ("lead",)], ["approved", "already_decided"]),
    "more roles than needed": ([("lead", "intern"), ("*",)], ["pending", "approved"]),
}


@pytest.mark.parametrize(("covers", "outcomes"), ROLES.values(), ids=list(ROLES))
async def test_every_named_role_must_approve(
    plane: Plane, covers: list[tuple[str, ...]], outcomes: list[str]
) -> None:
    envelope = await asked(plane, **DELETE)
    for roles, outcome in zip(covers, outcomes, strict=True):
        reply = await decide(plane, await operator(plane, *roles), envelope)
        answer = reply.json()
        assert (answer["state"] if reply.status_code == 200 else answer["error_code"]) == outcome
    view = await seen(plane, envelope)
    allowed = (await plane.ask(**DELETE, cosignerEnvelopeId=envelope)).json()["decision"]
    assert (allowed == "allow") == (view["state"] == "approved") == ("approved" in outcomes)


async def test_an_answer_is_seen_with_who_gave_it(plane: Plane) -> None:
    lead = await operator(plane, "lead", "intern")
    envelope = await asked(plane, **DELETE)
    plane.clock.now += 30
    reply = await decide(plane, lead, envelope, reason="looks right")
    assert ApprovalReply.model_validate(reply.json())
    assert reply.json() == await seen(plane, envelope)
    assert reply.json()["votes"] == [
        {
            "operator": lead["x-app"],
            "name": "a person",
            "approve": True,
            "roles": ["lead"],
            "reason": "looks right",
            "at": "2027-01-15T08:00:30.000Z",
        }
    ]
    assert reply.json()["approvedRoles"] == ["lead"]
    assert "decidedAt" not in reply.json()


async def test_a_vote_without_the_role_names_it(plane: Plane) -> None:
    envelope = await asked(plane, **DELETE)
    await decide(plane, await operator(plane, "lead"), envelope)
    reply = await decide(plane, await operator(plane, "lead", "intern"), envelope)
    assert (reply.status_code, reply.json()["error_code"]) == (403, "forbidden")
    assert reply.json()["error"] == (
        "this needs the role security, and your API key covers lead, intern"
    )


@pytest.mark.parametrize("before", [[], ["lead"]])
async def test_one_denial_is_enough(plane: Plane, before: list[str]) -> None:
    envelope = await asked(plane, **DELETE)
    for role in before:
        await decide(plane, await operator(plane, role), envelope)
    intern = await operator(plane, "intern")
    assert (await decide(plane, intern, envelope, approve=False)).status_code == 403
    lead = await operator(plane, "lead")
    reply = await decide(plane, lead, envelope, approve=False)
    assert reply.json()["state"] == "denied"
    answer = (await plane.ask(**DELETE, cosignerEnvelopeId=envelope)).json()
    assert answer["reason"] == "approval_denied"


async def test_an_approval_can_be_changed_to_a_denial(plane: Plane) -> None:
    lead = await operator(plane, "lead")
    envelope = await asked(plane, **DELETE)
    assert (await decide(plane, lead, envelope)).json()["approvedRoles"] == ["lead"]
    view = (await decide(plane, lead, envelope, approve=False)).json()
    assert (view["state"], view["approvedRoles"], len(view["votes"])) == ("denied", [], 1)
    kinds = [receipt.act for receipt in await plane.receipts()]
    assert kinds == ["deny", "approve", None]


async def test_a_late_vote_is_refused_with_the_earlier_decision(plane: Plane) -> None:
    lead = await operator(plane, "lead")
    envelope = await approved(plane, lead, **ISSUE)
    reply = await decide(plane, lead, envelope, approve=False)
    assert (reply.status_code, reply.json()["error_code"]) == (409, "already_decided")
    assert reply.json()["error"] == "this was approved by a person at 2027-01-15 08:00:00 UTC"
    await plane.ask(**ISSUE, cosignerEnvelopeId=envelope)
    reply = await decide(plane, lead, envelope)
    assert reply.json()["error"] == (
        "this was approved by a person at 2027-01-15 08:00:00 UTC, and used at "
        "2027-01-15 08:00:00 UTC"
    )


async def test_an_operator_cannot_vote_on_a_question_of_an_own_app(plane: Plane) -> None:
    owner = await operator(plane, "*")
    issued = credentials.issue("owned", "agent", DEFAULT, plane.clock(), owner=owner["x-app"])
    await plane.system.store.add_app(issued.app, issued.key)
    asking = {"authorization": f"Bearer {issued.text.reveal()}"}
    answer = (await plane.ask(asking, **ISSUE)).json()
    for approve in (True, False):
        reply = await decide(plane, owner, answer["approvalEnvelopeId"], approve=approve)
        assert (reply.status_code, reply.json()["error_code"]) == (403, "forbidden")
        assert "an app of your own" in reply.json()["error"]
    other = await operator(plane, "*")
    assert (await decide(plane, other, answer["approvalEnvelopeId"])).status_code == 200


async def test_an_app_cannot_vote_on_its_own_question(plane: Plane) -> None:
    """An operator's key of the very app that asks."""
    app = App(plane.app, DEFAULT, "tests", 0)
    key, text = credentials.new_key(app, "operator", ("*",), shown_to=None)
    database = plane.system.store.database
    await database.write(api_keys.add_key, key, 0)
    envelope = await asked(plane, **ISSUE)
    reply = await decide(plane, {"authorization": f"Bearer {text.reveal()}"}, envelope)
    assert (reply.status_code, reply.json()["error_code"]) == (403, "forbidden")


async def test_concurrent_votes_decide_once(plane: Plane) -> None:
    people = [await operator(plane, "*") for _ in range(8)]
    envelope = await asked(plane, **ISSUE)
    replies = await asyncio.gather(
        *(decide(plane, who, envelope, approve=bool(n % 2)) for n, who in enumerate(people))
    )
    assert sorted(reply.status_code for reply in replies) == [200, *[409] * 7]
    assert len((await seen(plane, envelope))["votes"]) == 1


BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "approve"),
    "a text": ({"approve": "yes"}, "approve"),
    "a number": ({"approve": 1}, "approve"),
    "null": ({"approve": None}, "approve"),
    "a reason too long": ({"approve": True, "reason": "x" * 281}, "reason"),
    "a reason that hides": ({"approve": True, "reason": "\x1b[8mno"}, "reason"),
    "something else": ({"approve": True, "roles": ["lead"]}, "roles"),
}


@pytest.mark.parametrize(("sent", "field"), BODIES.values(), ids=list(BODIES))
async def test_a_malformed_vote_does_not_count(
    plane: Plane, sent: dict[str, Any], field: str
) -> None:
    envelope = await asked(plane, **ISSUE)
    lead = await operator(plane, "lead")
    path = f"/v1/approvals/{envelope}/decide"
    body = {"version": (await seen(plane, envelope))["version"], **sent}
    reply = await plane.client.post(path, json=body, headers=lead)
    assert (reply.status_code, reply.json()["fields"]) == (400, [field])
    assert (await seen(plane, envelope))["state"] == "pending"


async def test_a_vote_on_a_missing_approval_is_not_found(plane: Plane) -> None:
    reply = await decide(plane, await operator(plane, "*"), "env_1")
    assert (reply.status_code, reply.json()["error_code"]) == (404, "not_found")
