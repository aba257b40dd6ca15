"""Reading requests and deciding them in a browser."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from nomos.server.control import credentials
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.pages.conftest import Site

pytestmark = pytest.mark.anyio

DELETE: Final[dict[str, Any]] = {
    "command": "/github/repo/delete",
    "resource": {"provider": "github", "owner": "acme", "repo": "attic"},
}


def app_of(key: str) -> str:
    return key.removeprefix("nomos_").rsplit("_", 1)[0]


async def state(site: Site, ident: str) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {site.operator.reveal()}"}
    view: dict[str, Any] = (await site.agent.get(f"/v1/approvals/{ident}", headers=headers)).json()
    return view


async def test_the_queue_lists_pending_and_decided_requests(site: Site) -> None:
    waits, settled = await site.ask(), await site.ask(DELETE)
    person = await site.person()
    await person.answer(settled, "deny")
    page = await person.see("/approvals")
    links = [link["href"] for link in page.all("a")]
    assert links.index(f"/approvals/{waits}") < links.index(f"/approvals/{settled}")
    assert "1 pending request of agents" in page.text
    assert "Stated purpose Begin the notes." in page.text
    assert "Denied /github/repo/delete" in page.text


async def test_the_most_urgent_question_comes_first(site: Site) -> None:
    first = await site.ask()
    site.clock.now += 60
    second = await site.ask(DELETE)
    page = await (await site.person()).see("/approvals")
    links = [link["href"] for link in page.all("a")]
    assert links.index(f"/approvals/{first}") < links.index(f"/approvals/{second}")
    assert "13 minutes left" not in page.text
    assert "14 minutes left" in page.text


async def test_a_question_is_shown_in_full(site: Site) -> None:
    content = "".join(f"line {number}\n" for number in range(900))
    ident = await site.ask(args={"content": content}, context={"ticket": "OPS-311"}, ttlSeconds=90)
    view = await state(site, ident)
    page = await (await site.person()).see(f"/approvals/{ident}")
    assert content in "".join(page.words)
    for expected in (
        view["agent"],
        view["app"]["id"],
        "robot",
        "notes/today.md",
        f"{len(content):,} bytes 900 lines",
        hashlib.sha256(content.encode()).hexdigest(),
        "Scroll to read all of it",
        "Stated by the agent These statements are not verified. Begin the notes.",
        "OPS-311",
        "somebody reads it first",
        "lead not yet approved",
        "15 minutes left",
        "until 08:15:00 UTC on 15 January 2027",
        "An approval allows one call, for exactly what is shown here.",
        "its grant is then valid for at most 1 minute 30 seconds",
        view["fingerprint"],
        view["receiptId"],
    ):
        assert expected in page.text
    assert view["bound"]["content"]["sha256"] in page.text


async def test_unbound_arguments_are_a_warning(site: Site) -> None:
    ident, person = await site.ask(DELETE), await site.person()
    page = await person.see(f"/approvals/{ident}")
    assert "Any arguments. The agent did not state" in page.text
    assert "with any arguments" in page.text
    assert "Any arguments" in (await person.see("/approvals")).text
    bound = await site.ask({**DELETE, "args": {}})
    page = await person.see(f"/approvals/{bound}")
    assert "Any arguments" not in page.text
    assert "Arguments None." in page.text


async def test_only_a_hash_instead_of_a_text_is_a_warning(site: Site) -> None:
    digest = hashlib.sha256(b"rm -rf /").hexdigest()
    ident = await site.ask(args={"content": {"sha256": digest}})
    page = await (await site.person()).see(f"/approvals/{ident}")
    assert "sent only the hash of this text. You cannot read the text" in page.text


async def test_an_approval_permits_one_call(site: Site) -> None:
    ident, person = await site.ask(), await site.person()
    reply = await person.answer(ident, "approve", reason="  Fine.\r\nGo. ")
    assert (reply.status_code, reply.headers["location"]) == (303, f"/approvals/{ident}")
    page = await person.see(f"/approvals/{ident}")
    assert "Approved, not used yet" in page.text
    assert "Ada approved as lead" in page.text
    assert page.all("textarea") == []
    (vote,) = (await state(site, ident))["votes"]
    assert (vote["approve"], vote["reason"]) == (True, "Fine.\nGo.")
    await site.use(ident)
    assert "Approved and used" in (await person.see(f"/approvals/{ident}")).text
    (record,) = await site.records("approval")
    assert (record.act, record.actor) == ("approve", app_of(site.operator.reveal()))
    assert record.envelope == ident


async def test_a_denial_decides_the_request(site: Site) -> None:
    ident, person = await site.ask(), await site.person()
    assert (await person.answer(ident, "deny", reason="Not today.")).status_code == 303
    page = await person.see(f"/approvals/{ident}")
    assert "Denied The request was denied" in page.text
    assert "Not today." in page.text
    assert (await state(site, ident))["state"] == "denied"


async def test_the_page_shows_the_missing_role(site: Site) -> None:
    lead = await site.system.create_app("Lena", "operator", ("lead",))
    guard = await site.system.create_app("Sven", "operator", ("security",))
    ident = await site.ask(DELETE)
    lena, sven = await site.person(lead), await site.person(guard)
    before = await lena.see(f"/approvals/{ident}")
    assert "Approval by security is needed too" in before.text
    assert (await lena.answer(ident, "approve")).status_code == 303
    page = await lena.see(f"/approvals/{ident}")
    assert "More approvals are needed Approvals still needed: security" in page.text
    values = [button.get("value") for button in page.all("button")]
    assert "approve" not in values
    assert "deny" in values
    assert (await state(site, ident))["state"] == "pending"
    assert (await sven.answer(ident, "approve")).status_code == 303
    assert (await state(site, ident))["state"] == "approved"


async def test_an_operator_without_the_role_gets_no_buttons_and_cannot_vote(site: Site) -> None:
    key = await site.system.create_app("Otto", "operator", ("finance",))
    ident, otto = await site.ask(), await site.person(key)
    page = await otto.see(f"/approvals/{ident}")
    assert "You cannot decide this request. This needs the role lead" in page.text
    assert page.all("textarea") == []
    fields = {**page.fields(), "decision": "approve"}
    reply = await otto.post(f"/approvals/{ident}", fields)
    assert reply.status_code == 403
    assert "needs the role lead" in reply.text
    assert (await state(site, ident))["votes"] == []


async def test_an_operator_cannot_vote_on_a_question_of_an_own_app(site: Site) -> None:
    owner = app_of(site.operator.reveal())
    mine = credentials.issue("mine", "agent", DEFAULT, site.clock(), owner=owner)
    await site.system.store.add_app(mine.app, mine.key)
    site.agent.headers["authorization"] = f"Bearer {mine.text.reveal()}"
    ident, person = await site.ask(), await site.person()
    page = await person.see(f"/approvals/{ident}")
    assert "an app of your own sent it" in page.text
    fields = {**page.fields(), "decision": "approve"}
    assert (await person.post(f"/approvals/{ident}", fields)).status_code == 403


async def test_a_decided_request_cannot_be_voted_on(site: Site) -> None:
    ident, first, second = await site.ask(), await site.person(), await site.person()
    fields = (await second.see(f"/approvals/{ident}")).fields()
    await first.answer(ident, "deny")
    reply = await second.post(f"/approvals/{ident}", {**fields, "decision": "approve"})
    assert reply.status_code == 409
    assert "This was denied by Ada at" in reply.text
    assert (await state(site, ident))["state"] == "denied"


async def test_an_expired_request_cannot_be_voted_on(site: Site) -> None:
    ident, person = await site.ask(), await site.person()
    fields = (await person.see(f"/approvals/{ident}")).fields()
    site.clock.now += 13 * 60
    assert "time soon" in str((await person.see(f"/approvals/{ident}")).all("p"))
    site.clock.now += 2 * 60
    reply = await person.post(f"/approvals/{ident}", {**fields, "decision": "approve"})
    assert reply.status_code == 409
    assert "expired at 2027-01-15 08:15:00 UTC" in reply.text
    page = await person.see(f"/approvals/{ident}")
    assert "Expired It was not decided in time" in page.text
    assert page.all("textarea") == []


async def test_a_revoked_request_is_shown_as_revoked(site: Site) -> None:
    ident, person = await site.ask(), await site.person()
    headers = {"authorization": f"Bearer {site.operator.reveal()}"}
    reply = await site.agent.post("/v1/revocations", json={"id": ident}, headers=headers)
    assert reply.status_code == 200
    assert (
        "Revoked The approval, the agent or its app was"
        in (await person.see(f"/approvals/{ident}")).text
    )


@pytest.mark.parametrize(
    "path", ["/approvals/env_" + "0" * 26, "/approvals/x", "/approvals/a/b", "/approvals/env_"]
)
async def test_an_unknown_address_is_a_404_page(site: Site, path: str) -> None:
    person = await site.person()
    reply = await person.client.get(path, headers={"x-request-id": "abc-1"})
    assert reply.status_code == 404
    assert "Not found" in reply.text
    assert "abc-1" in reply.text
    assert (await person.post(path, {"csrf": "x"})).status_code in (403, 404)


async def test_a_trailing_slash_is_redirected(site: Site) -> None:
    person = await site.person()
    assert (await person.client.get("/approvals/")).headers["location"] == "/approvals"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"decision": "perhaps"}, "choose approve or deny"),
        ({}, "choose approve or deny"),
        ({"decision": "approve", "reason": "x" * 281}, "Reason: "),
        ({"decision": "approve", "reason": "\x00"}, "Reason: "),
    ],
)
async def test_a_malformed_vote_does_not_count(
    site: Site, fields: dict[str, str], said: str
) -> None:
    ident, person = await site.ask(), await site.person()
    csrf = (await person.see(f"/approvals/{ident}")).fields()
    reply = await person.post(f"/approvals/{ident}", {**csrf, **fields})
    assert reply.status_code == 400
    assert said in reply.text
    assert f'href="/approvals/{ident}"' in reply.text
    assert (await state(site, ident))["votes"] == []


async def test_the_reason_may_have_the_length_of_the_text_field(site: Site) -> None:
    ident, person = await site.ask(), await site.person()
    (area,) = (await person.see(f"/approvals/{ident}")).all("textarea")
    reason = "é" * int(area["maxlength"])
    assert (await person.answer(ident, "approve", reason=reason)).status_code == 303
    (vote,) = (await state(site, ident))["votes"]
    assert vote["reason"] == reason
