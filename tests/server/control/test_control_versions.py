"""A vote counts for the version of the question that was shown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from server.control.people import ISSUE, POLICY, asked, decide, operator, seen

from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.control.conftest import OpenPlane, Plane

    from nomos._io.signer import AsyncSigner

pytestmark = pytest.mark.anyio

MORE = """
@id("look") @step_up("lead") @reason("a closer look")
forbid(principal, action == Action::"/github/issue/create", resource is Github)
when { context.purpose like "*prod*" } unless { context.cosigned };
"""


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY + MORE) as plane:
        yield plane


async def test_a_vote_must_name_its_version(plane: Plane) -> None:
    envelope, lead = await asked(plane, **ISSUE), await operator(plane, "lead")
    path = f"/v1/approvals/{envelope}"
    reply = await plane.client.post(f"{path}/decide", json={"approve": True}, headers=lead)
    assert (reply.status_code, reply.json()["fields"]) == (400, ["version"])
    assert f"GET {path}" in reply.json()["error"]
    for wrong in ("", "0", "A" * 64, 5, ["0" * 64]):
        body = {"approve": True, "version": wrong}
        reply = await plane.client.post(f"{path}/decide", json=body, headers=lead)
        assert (reply.status_code, reply.json()["fields"]) == (400, ["version"]), wrong
    assert (await seen(plane, envelope))["votes"] == []


@pytest.mark.parametrize("purpose", ["urgent", "ship to prod tonight"])
@pytest.mark.parametrize("approve", [True, False])
async def test_a_question_that_changed_is_not_decided(
    plane: Plane, purpose: str, *, approve: bool
) -> None:
    """The purpose, and with it roles (urgent) or just the policies and their reasons (prod)."""
    lead = await operator(plane, "lead")
    envelope = await asked(plane, **ISSUE, purpose="tidy the docs")
    shown = await seen(plane, envelope)
    assert await asked(plane, **ISSUE, purpose=purpose) == envelope
    reply = await decide(plane, lead, envelope, approve=approve, version=shown["version"])
    assert (reply.status_code, reply.json()["error_code"]) == (409, "question_changed")
    now = reply.json()["approval"]
    assert (now["state"], now["purpose"], now["votes"]) == ("pending", purpose, [])
    assert now["version"] == (await seen(plane, envelope))["version"] != shown["version"]
    again = await decide(plane, lead, envelope, approve=approve, version=now["version"])
    assert again.status_code == 200
    assert again.json()["version"] == now["version"]


async def test_approvals_of_an_earlier_version_do_not_count(plane: Plane) -> None:
    lead, security = await operator(plane, "lead"), await operator(plane, "security")
    envelope = await asked(plane, command="/github/repo/delete")
    await decide(plane, lead, envelope)
    assert (await seen(plane, envelope))["approvedRoles"] == ["lead"]
    urgent = await asked(plane, **ISSUE, purpose="urgent")
    await decide(plane, security, urgent)
    assert (await seen(plane, urgent))["approvedRoles"] == ["security"]
    assert await asked(plane, **ISSUE, purpose="on to prod") == urgent
    assert (await seen(plane, urgent))["approvedRoles"] == []
    after = (await decide(plane, lead, urgent)).json()
    assert (after["state"], after["approvedRoles"]) == ("pending", ["lead"])
    assert (await decide(plane, security, urgent)).json()["state"] == "approved"


async def test_a_changed_reason_of_a_policy_makes_another_version(plane: Plane) -> None:
    from nomos.policy.bundle import Source, load

    envelope = await asked(plane, **ISSUE, purpose="x")
    shown, live = await seen(plane, envelope), plane.system.live
    text = (POLICY + MORE).replace("a lead reads new issues first", "the board wants to know")
    live.activate(load((Source("policy.cedar", text),), live.bundle.catalog), 9, 9)
    for _ in range(2):
        assert await asked(plane, **ISSUE, purpose="x") == envelope
    after = await seen(plane, envelope)
    assert after["version"] != shown["version"]
    assert after["reason"] == "a lead reads new issues first; the board wants to know"


async def test_a_question_repeated_with_another_purpose_keeps_its_version(plane: Plane) -> None:
    envelope = await asked(plane, **ISSUE, purpose="urgent")
    shown = await seen(plane, envelope)
    plane.clock.now += 60
    assert await asked(plane, **ISSUE, purpose="other words") == envelope
    after = await seen(plane, envelope)
    assert (after["version"], after["purpose"]) == (shown["version"], "urgent")
    assert (await decide(plane, await operator(plane, "*"), envelope)).status_code == 200


async def test_concurrent_votes_on_one_version_all_count(
    plane: Plane,
) -> None:
    envelope = await asked(plane, command="/github/repo/delete")
    version = (await seen(plane, envelope))["version"]
    people = [await operator(plane, role) for role in ("lead", "security")]
    replies = await asyncio.gather(
        *(decide(plane, who, envelope, version=version) for who in people)
    )
    assert [reply.status_code for reply in replies] == [200, 200]
    assert (await seen(plane, envelope))["state"] == "approved"


async def test_record_and_webhook_have_the_version(plane: Plane) -> None:
    plane.system.store.outbox.wanted = True
    envelope, lead = await asked(plane, **ISSUE), await operator(plane, "lead")
    await decide(plane, lead, envelope)
    version = (await seen(plane, envelope))["version"]
    row = next(row for row in await plane.receipts() if row.kind == "approval")
    assert row.detail["version"] == version
    messages = await plane.system.store.outbox.due(9, 30)
    assert len(messages) == 2
    assert all(f'"version":"{version}"' in each.body.replace(" ", "") for each in messages)


async def form(plane: Plane, envelope: str, **fields: str) -> Any:
    return await plane.client.post(f"/approvals/{envelope}", data=fields)


def hidden(page: str, name: str) -> str:
    return page.partition(f'name="{name}" value="')[2].partition('"')[0]


async def test_the_page_shows_a_changed_question_without_voting(plane: Plane) -> None:
    lead = await operator(plane, "lead")
    login = await plane.client.get("/approvals/login")
    key = lead["authorization"].removeprefix("Bearer ")
    csrf = hidden(login.text, "csrf")
    await plane.client.post("/approvals/login", data={"csrf": csrf, "secret": key})
    envelope = await asked(plane, **ISSUE, purpose="tidy the docs")
    page = (await plane.client.get(f"/approvals/{envelope}")).text
    sent = {name: hidden(page, name) for name in ("csrf", "version")} | {"decision": "approve"}
    await asked(plane, **ISSUE, purpose="ship to prod tonight")
    for fields in (sent, {name: sent[name] for name in ("csrf", "decision")}):
        changed = await form(plane, envelope, **fields, reason="read <it>")
        assert changed.status_code == 409
        assert "The request has changed" in changed.text
        assert "ship to prod tonight" in changed.text
        assert "a closer look" in changed.text
        assert "read &lt;it&gt;</textarea>" in changed.text
        assert (await seen(plane, envelope))["votes"] == []
    sent = {name: hidden(changed.text, name) for name in ("csrf", "version")}
    assert (await form(plane, envelope, **sent, decision="approve")).status_code == 303
    assert (await seen(plane, envelope))["state"] == "approved"


async def test_an_approval_without_a_version_is_requested_again(plane: Plane) -> None:
    """Votes of an older server do not say what was shown."""
    import sqlalchemy as sa

    from nomos.server.storage.tables import votes

    envelope, lead = await asked(plane, **ISSUE), await operator(plane, "lead")
    await decide(plane, lead, envelope)
    database = plane.system.store.database
    await database.write(
        lambda connection: connection.execute(sa.update(votes).values(version=None))
    )
    answer = (await plane.ask(**ISSUE, cosignerEnvelopeId=envelope)).json()
    assert (answer["decision"], answer["reason"]) == ("deny", "approval_mismatch")
    assert await asked(plane, **ISSUE) != envelope
    assert await plane.system.store.envelopes.find(DEFAULT, envelope) is not None
