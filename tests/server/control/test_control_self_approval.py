"""Attempts to approve one's own questions, which all fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from server.control.people import ISSUE, POLICY, REPO, approved, asked, decide, operator, seen

from nomos.server.domain.envelope import DENIAL_SECONDS, MAX_PENDING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.control.conftest import OpenPlane, Plane

    from nomos._io.signer import AsyncSigner

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane) -> AsyncIterator[Plane]:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        yield plane


async def made(plane: Plane, who: dict[str, str], **app: Any) -> dict[str, Any]:
    reply = await plane.client.post("/v1/apps", json={"name": "made", **app}, headers=who)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def bearer(app: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {app['apiKey']}", "x-app": str(app["id"])}


async def test_a_key_made_by_the_asker_cannot_approve(plane: Plane) -> None:
    admin = await operator(plane, "*")
    bot = await made(plane, admin, role="agent")
    ada = await made(plane, admin, role="operator", covers=["lead"])
    answer = (await plane.ask(bearer(bot), **ISSUE)).json()
    refused = await decide(plane, bearer(ada), answer["approvalEnvelopeId"])
    assert (refused.status_code, refused.json()["error_code"]) == (403, "forbidden")
    assert f"nomos operators confirm {ada['id']}" in refused.json()["error"]
    again = await plane.client.post(f"/v1/apps/{ada['id']}/rotate", headers=bearer(ada))
    own = bearer(again.json())
    refused = await decide(plane, own, answer["approvalEnvelopeId"])
    assert (refused.status_code, refused.json()["error_code"]) == (403, "forbidden")


async def test_a_key_replaced_by_the_account_that_made_it_counts_as_that_account(
    plane: Plane,
) -> None:
    admin = await operator(plane, "*")
    bot = await made(plane, admin, role="agent")
    ada = await made(plane, admin, role="operator", covers=["lead"])
    mine = (await plane.client.post(f"/v1/apps/{ada['id']}/rotate", headers=bearer(ada))).json()
    theirs = (await plane.client.post(f"/v1/apps/{ada['id']}/rotate", headers=admin)).json()
    answer = (await plane.ask(bearer(bot), **ISSUE)).json()
    assert (await decide(plane, bearer(mine), answer["approvalEnvelopeId"])).status_code == 401
    refused = await decide(plane, bearer(theirs), answer["approvalEnvelopeId"])
    assert refused.status_code == 403


async def test_an_agents_key_is_replaced_by_its_owner_alone(plane: Plane) -> None:
    admin, other = await operator(plane, "*"), await operator(plane, "*")
    bot = await made(plane, admin, role="agent")
    path = f"/v1/apps/{bot['id']}/rotate"
    assert (await plane.client.post(path, headers=other)).status_code == 403
    assert (await plane.client.post(path, headers=admin)).status_code == 200


async def test_replacing_the_key_of_an_app_without_owner_makes_the_owner(plane: Plane) -> None:
    admin = await operator(plane, "*")
    reply = await plane.client.post(f"/v1/apps/{plane.app}/rotate", headers=admin)
    answer = (await plane.ask(bearer(reply.json()), **ISSUE)).json()
    refused = await decide(plane, admin, answer["approvalEnvelopeId"])
    assert (refused.status_code, refused.json()["error_code"]) == (403, "forbidden")


async def test_an_operators_key_is_replaced_by_the_operator_or_the_owner(plane: Plane) -> None:
    one, other = await operator(plane, "*"), await operator(plane, "*")
    refused = await plane.client.post(f"/v1/apps/{other['x-app']}/rotate", headers=one)
    assert (refused.status_code, refused.json()["error_code"]) == (403, "forbidden")


async def test_the_approval_of_a_disabled_operator_does_not_count(plane: Plane, agent: str) -> None:
    admin, suspect = await operator(plane, "*"), await operator(plane, "lead")
    question = {**ISSUE, "agentDid": agent}
    envelope = await approved(plane, suspect, **question)
    await plane.client.post(f"/v1/apps/{suspect['x-app']}/disable", headers=admin)
    answer = (await plane.ask(**question, cosignerEnvelopeId=envelope)).json()
    assert (answer["decision"], answer["reason"]) == ("deny", "approval_mismatch")
    assert answer["explanation"]["fields"] == ["roles"]
    assert (await asked(plane, **question)) != envelope


@pytest.mark.parametrize(
    "change",
    [
        {"ttlSeconds": 299},
        {"context": {"team": "red"}},
        {"context": ...},
        {"agentDid": ...},
        {"args": ...},
        {"args": {**ISSUE["args"], "title": "Something else"}},
        {"args": {"title": ISSUE["args"]["title"]}},
        {"resource": {**REPO, "owner": "ACME"}},
    ],
)
async def test_a_denial_holds_for_the_action_with_any_arguments(
    plane: Plane, agent: str, change: dict[str, Any]
) -> None:
    lead = await operator(plane, "lead")
    question = {**ISSUE, "agentDid": agent}
    await decide(plane, lead, await asked(plane, **question), approve=False)
    answer = (await plane.ask(**{**question, **change})).json()
    assert (answer["decision"], answer["reason"]) == ("deny", "approval_denied")
    assert await asked(plane, **{**question, "resource": {**REPO, "repo": "other"}})
    assert await asked(plane, command="/github/repo/delete", resource=REPO)
    plane.clock.now += DENIAL_SECONDS
    assert await asked(plane, **{**question, **change})


async def test_a_denial_holds_for_every_app_and_names_no_other(plane: Plane) -> None:
    lead, other = await operator(plane, "lead"), await plane.another()
    envelope = await asked(plane, **ISSUE)
    await decide(plane, lead, envelope, approve=False, reason="the board must not hear of this")
    answer = (await plane.ask(other, **ISSUE)).json()
    assert (answer["decision"], answer["reason"]) == ("deny", "approval_denied")
    assert "board" not in str(answer)
    newest, *_ = await plane.receipts()
    assert (newest.id, newest.envelope, newest.parent) == (answer["receiptId"], None, None)


async def test_a_denial_holds_for_questions_with_and_without_arguments(
    plane: Plane,
) -> None:
    lead = await operator(plane, "lead")
    reading = {"command": "/github/issue/list", "resource": {**REPO, "repo": "secret"}}
    await decide(plane, lead, await asked(plane, **reading), approve=False)
    answer = (await plane.ask(**reading, args={"state": "open"})).json()
    assert answer["reason"] == "approval_denied"


async def test_an_exact_approval_comes_before_a_denial_of_the_action(
    plane: Plane,
) -> None:
    lead = await operator(plane, "lead")
    given = await approved(plane, lead, **ISSUE)
    plane.clock.now += 1
    other = {**ISSUE, "args": {"title": "Another"}}
    await decide(plane, lead, await asked(plane, **other), approve=False)
    assert await asked(plane, **ISSUE) == given
    assert (await plane.ask(**ISSUE, cosignerEnvelopeId=given)).json()["decision"] == "allow"
    assert (await plane.ask(**ISSUE)).json()["reason"] == "approval_denied"


async def test_revoked_questions_count_in_the_limit(plane: Plane) -> None:
    for number in range(MAX_PENDING):
        envelope = await asked(plane, **{**ISSUE, "args": {"title": f"{number}"}})
        taken = await plane.client.post("/v1/revocations", json={"id": envelope})
        assert taken.status_code == 200, taken.text
    reply = await plane.ask(**ISSUE)
    assert (reply.status_code, reply.json()["error_code"]) == (429, "rate_limited")


async def test_the_approved_purpose_is_signed_and_recorded(plane: Plane, agent: str) -> None:
    lead = await operator(plane, "lead")
    question = {**ISSUE, "agentDid": agent}
    envelope = await approved(plane, lead, **question, purpose="a typo")
    changed = {**question, "purpose": "the boss said so", "cosignerEnvelopeId": envelope}
    answer = (await plane.ask(**changed)).json()
    assert answer["decision"] == "allow"
    assert plane.payload(answer["chain"][0])["meta"]["facts"]["purpose"] == "a typo"
    newest, *_ = await plane.receipts()
    assert (newest.id, newest.purpose) == (answer["receiptId"], "a typo")
    assert (await seen(plane, envelope))["purpose"] == "a typo"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/policies", {"sources": {"a.cedar": "permit (principal, action, resource);"}}),
        ("/v1/policies/1/activate", {}),
        ("/v1/policies/rollback", {}),
        ("/v1/keys/rotate", {}),
        ("/v1/services", {"name": "a", "did": "did:key:z6Mk" + "1" * 44, "url": "https://a"}),
    ],
)
async def test_changing_policies_needs_an_operator_who_covers_all(
    plane: Plane, path: str, body: dict[str, Any]
) -> None:
    for who in (await operator(plane, "lead"), await operator(plane)):
        reply = await plane.client.post(path, json=body, headers=who)
        assert (reply.status_code, reply.json()["error_code"]) == (403, "forbidden")
        assert "covers every role" in reply.json()["error"]


async def test_asking_in_an_agents_name_gives_no_right_to_revoke_it(
    plane: Plane, agent: str
) -> None:
    await plane.ask(agentDid=agent)
    reply = await plane.client.post("/v1/revocations", json={"id": agent})
    assert (reply.status_code, reply.json()["error_code"]) == (404, "not_found")
    admin = await operator(plane, "*")
    done = await plane.client.post("/v1/revocations", json={"id": agent}, headers=admin)
    assert (done.json()["kind"], done.json()["known"]) == ("agent", True)


async def test_revoking_an_unknown_id_is_marked_as_unknown(plane: Plane) -> None:
    admin = await operator(plane, "*")
    for ident in ("0" * 64, "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"):
        done = await plane.client.post("/v1/revocations", json={"id": ident}, headers=admin)
        assert (done.status_code, done.json()["known"]) == (200, False)
        service = {"name": "wiki", "did": ident, "url": "https://wiki"}
        refused = await plane.client.post("/v1/services", json=service, headers=admin)
        assert refused.status_code == 400


async def test_a_repeated_approval_names_the_missing_roles(plane: Plane) -> None:
    lead = await operator(plane, "lead")
    envelope = await asked(plane, command="/github/repo/delete")
    assert (await decide(plane, lead, envelope)).json()["approvedRoles"] == ["lead"]
    again = await decide(plane, lead, envelope)
    assert again.status_code == 403
    assert "approved this already; it still needs security" in again.json()["error"]
