"""Signing in to the approval pages and out again."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import store_access

from nomos._io.signer import AsyncSigner
from nomos.server.control import limits
from nomos.server.control.credentials import hashed
from nomos.server.domain.accounts import ApiKey
from nomos.server.pages import browser_sessions
from nomos.server.storage.sessions import Session
from nomos.server.storage.steady_clock import Steady
from nomos.server.storage.tables import api_keys, login_links, sessions
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.pages.conftest import OpenTown, Town

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000
COOKIE = "nomos_session_8788"


def app_of(key: str) -> str:
    return key.removeprefix("nomos_").rsplit("_", 1)[0]


async def use_link(town: Town, link: str) -> int:
    person = town.stranger()
    page = await person.see(link)
    assert page.fields()["secret"] in link
    return (await person.post("/approvals/login", page.fields())).status_code


async def test_a_link_signs_in_once(town: Town) -> None:
    link, person = await town.link(), town.stranger()
    page = await person.see(link)
    assert "Sign in as Ada" in page.text
    first = await person.post("/approvals/login", page.fields())
    assert first.headers["location"] == "/approvals"
    assert "No pending requests" in (await person.see("/approvals")).text
    other = town.stranger()
    assert "already used" in (await other.see(link, 401)).text
    again = await person.post("/approvals/login", {**page.fields()})
    assert again.status_code == 403  # the form of another session
    form = {**(await other.see("/approvals/login")).fields(), "secret": page.fields()["secret"]}
    assert (await other.post("/approvals/login", form)).status_code == 401


async def test_of_many_who_use_a_link_at_once_one_gets_in(town: Town) -> None:
    link = await town.link()
    people = [town.stranger() for _ in range(8)]
    forms = [(await person.see(link)).fields() for person in people]
    replies = await asyncio.gather(
        *(person.post("/approvals/login", form) for person, form in zip(people, forms, strict=True))
    )
    assert sorted(reply.status_code for reply in replies) == [303] + [401] * 7
    assert len(await town.records("session")) == 1


async def test_a_session_covers_what_each_key_of_its_operator_does(town: Town) -> None:
    def covers(*keys: tuple[str, ...]) -> tuple[str, ...]:
        held = tuple(ApiKey("app_1", DEFAULT, "operator", "", covers=each) for each in keys)
        return browser_sessions.operator_key(Session(DEFAULT, "app_1", "Ada", NOW, held)).covers

    assert covers(("lead",)) == ("lead",)
    assert covers(("*",), ("*",)) == ("*",)
    assert covers(("*",), ("lead", "security")) == ("lead", "security")
    assert covers(("lead", "security"), ("security", "triage"), ("*",)) == ("security",)
    assert covers(("lead",), ("triage",)) == ()


async def test_looking_at_a_link_does_not_use_it(town: Town) -> None:
    link = await town.link()
    for _ in range(5):
        await town.stranger().see(link)
    assert await use_link(town, link) == 303


async def test_a_link_works_for_ten_minutes(town: Town) -> None:
    link, late = await town.link(), await town.link()
    town.clock.now += 599
    assert await use_link(town, link) == 303
    town.clock.now += 1
    assert "has expired" in (await town.stranger().see(late, 401)).text


async def test_a_wrong_link_is_refused_and_a_cut_one(town: Town) -> None:
    link = await town.link()
    for wrong in (link[:-1] + ("a" if link[-1] != "a" else "b"), link[:-1], link[:-52]):
        page = await town.stranger().see(wrong, 401)
        assert "unknown to this server" in page.text
        assert page.all("input")[-1]["type"] == "password"


async def test_operators_make_links_and_others_do_not(town: Town) -> None:
    headers = {"authorization": f"Bearer {town.operator.reveal()}"}
    reply = await town.agent.post("/v1/login-links", headers=headers)
    assert reply.status_code == 200
    assert reply.json()["expiresAt"] == "2027-01-15T08:10:00.000Z"
    url = reply.json()["url"]
    assert re.fullmatch(
        r"http://127\.0\.0\.1:8788/approvals/login\?token=nomos_login_[0-9a-z]{52}", url
    )
    assert await use_link(town, url) == 303
    assert (await town.agent.post("/v1/login-links")).status_code == 403
    nobody = {"authorization": ""}
    assert (await town.agent.post("/v1/login-links", headers=nobody)).status_code == 401


@pytest.mark.parametrize("form", ["key", "token", "link"])
async def test_a_key_a_token_and_a_whole_link_can_be_pasted(town: Town, form: str) -> None:
    link = await town.link()
    secret = {"key": town.operator.reveal(), "token": link.split("token=")[1], "link": f" {link}\n"}
    person = town.stranger()
    assert (await person.sign_in(secret[form])).status_code == 303
    await person.see("/approvals")
    (record,) = await town.records("session")
    assert (record.act, record.actor) == ("login", app_of(town.operator.reveal()))
    assert record.detail == {"by": "api_key" if form == "key" else "link"}


async def test_agents_auditors_and_strangers_do_not_get_in(town: Town) -> None:
    agent = await town.system.create_app("another")
    auditor = await town.system.create_app("auditor", "auditor")
    right = town.operator.reveal()
    wrong = ["", "x", "nomos_login_", right[:-1], f"Bearer {right}", "é" * 40, f"{right}\x00"]
    for secret in (agent.reveal(), auditor.reveal(), *wrong):
        person = town.stranger()
        reply = await person.sign_in(secret)
        assert reply.status_code == 401
        assert right not in reply.text
        assert (await person.client.get("/approvals")).status_code == 303
    assert await town.records("session") == []


async def test_only_hashes_are_kept_and_old_ones_go(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await town.link()
    person = await town.person()
    cookie = person.client.cookies[COOKIE]
    secrets = (cookie, link.split("token=")[1])
    kept = b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file())
    for secret in secrets:
        assert secret.encode() not in kept
        assert hashed(secret).encode() in kept
    town.clock.now += 2 * 24 * 60 * 60
    monkeypatch.setattr(Steady, "now", lambda steady: int(steady._clock()))
    await town.person()
    engine = sa.create_engine(f"sqlite:///{next((tmp_path / 'data').glob('*.db'))}")
    with engine.connect() as connection:
        count = [
            connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in (login_links, sessions)
        ]
    engine.dispose()
    assert count == [0, 1]


async def test_the_cookie_is_kept_from_scripts_and_other_sites(
    town: Town, open_town: OpenTown, signer: AsyncSigner, tmp_path: Path
) -> None:
    def attributes(header: str) -> set[str]:
        return {part.strip().lower() for part in header.split(";")[1:]}

    person = town.stranger()
    reply = await person.sign_in(town.operator.reveal())
    sent = attributes(reply.headers["set-cookie"])
    assert sent == {"httponly", "samesite=strict", "path=/approvals", "max-age=28800"}
    secure = open_town(tmp_path / "secure", signer, control_url="https://nomos.example")
    async with secure as other:
        person = other.stranger()
        page = await person.client.get("https://nomos.example/approvals/login")
        assert "secure" in attributes(page.headers["set-cookie"])


async def test_signing_in_changes_the_cookie(town: Town) -> None:
    person = town.stranger()
    await person.see("/approvals/login")
    before = person.client.cookies[COOKIE]
    await person.sign_in(town.operator.reveal())
    assert person.client.cookies[COOKIE] != before
    thief = town.stranger()
    thief.client.cookies.set(COOKIE, before, path="/approvals")
    assert (await thief.client.get("/approvals")).status_code == 303


async def test_a_session_ends_after_eight_hours(town: Town) -> None:
    person = await town.person()
    town.clock.now += browser_sessions.SESSION_SECONDS - 1
    await person.see("/approvals")
    town.clock.now += 1
    assert (await person.client.get("/approvals")).headers["location"] == "/approvals/login"


async def test_signing_out_ends_the_session_on_the_server(town: Town) -> None:
    person = await town.person()
    cookie = person.client.cookies[COOKIE]
    fields = (await person.see("/approvals")).fields()
    assert (await person.post("/approvals/logout", {"csrf": "x"})).status_code == 403
    reply = await person.post("/approvals/logout", fields)
    assert (reply.status_code, reply.headers["location"]) == (303, "/approvals/login")
    assert COOKIE not in person.client.cookies
    person.client.cookies.set(COOKIE, cookie, path="/approvals")
    assert (await person.client.get("/approvals")).status_code == 303
    assert [record.act for record in await town.records("session")] == ["login", "logout"]


async def test_a_disabled_app_and_a_lost_role_have_no_session(town: Town, tmp_path: Path) -> None:
    key = await town.system.create_app("Grace", "operator", ("*",))
    grace, ada = await town.person(key), await town.person()
    link = (await town.system.login_link(key)).reveal()
    await store_access.disable_app(town.system.store, DEFAULT, app_of(key.reveal()))
    assert (await grace.client.get("/approvals")).status_code == 303
    assert (await town.stranger().client.get(link)).status_code == 401
    assert (await town.stranger().sign_in(key.reveal())).status_code == 401
    await ada.see("/approvals")
    engine = sa.create_engine(f"sqlite:///{next((tmp_path / 'data').glob('*.db'))}")
    with engine.begin() as connection:
        connection.execute(api_keys.update().values(role="auditor"))
    engine.dispose()
    assert (await ada.client.get("/approvals")).status_code == 303


async def test_after_signing_in_comes_the_page_that_was_asked_for(town: Town) -> None:
    ident, person = await town.ask(), town.stranger()
    reply = await person.client.get(f"/approvals/{ident}")
    assert reply.headers["location"] == f"/approvals/login?next=/approvals/{ident}"
    reply = await person.sign_in(town.operator.reveal(), f"/approvals/{ident}")
    assert reply.headers["location"] == f"/approvals/{ident}"
    signed_in = await person.client.get(f"/approvals/login?next=/approvals/{ident}")
    assert signed_in.headers["location"] == f"/approvals/{ident}"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/approvals",
        "//evil.example/approvals",
        "/\\evil.example",
        "/approvals/../../evil",
        "/approvals//evil.example",
        "/approvals@evil.example",
        "/approvals/login",
        "/v1/approvals",
        "javascript:alert(1)",
        "/approvals\r\nx: y",
        "/approvals\n",
        "/approvals/env_" + "a" * 27,
    ],
)
async def test_nobody_is_sent_anywhere_else(town: Town, target: str) -> None:
    person = town.stranger()
    fields = (await person.see("/approvals/login")).fields()
    fields |= {"next": target, "secret": town.operator.reveal()}
    reply = await person.post("/approvals/login", fields)
    assert (reply.status_code, reply.headers["location"]) == (303, "/approvals")
    query = await person.client.get("/approvals/login", params={"next": target})
    assert query.headers["location"] == "/approvals"


async def test_failures_are_bounded_and_success_is_not(town: Town) -> None:
    person = town.stranger()
    for _ in range(limits.MOST_FAILURES):
        assert (await person.sign_in("nomos_wrong")).status_code == 401
    reply = await person.sign_in("nomos_wrong")
    assert reply.status_code == 429
    assert 1 <= int(reply.headers["retry-after"]) <= 61
    # Others at this address must not lock out who has a right key.
    for _ in range(limits.MOST_FAILURES + 2):
        assert (await person.sign_in(town.operator.reveal())).status_code == 303


async def test_coming_from_another_site_takes_one_step_more(town: Town) -> None:
    """A browser keeps a strict cookie back then; the page that leads on makes it send it."""
    ident, person = await town.ask(), town.stranger()
    page = await person.see(f"/approvals/{ident}", sec_fetch_site="cross-site")
    (refresh,) = [meta for meta in page.all("meta") if meta.get("http-equiv") == "refresh"]
    assert refresh["content"] == f"0; url=/approvals/{ident}"
    signed_in = await town.person()
    await signed_in.see(f"/approvals/{ident}", sec_fetch_site="same-origin")


async def test_links_and_sessions_of_one_operator_are_bounded(town: Town) -> None:
    first = await town.link()
    for _ in range(50):
        town.clock.now += 1
        await town.link()
    assert "unknown to this server" in (await town.stranger().see(first, 401)).text


async def test_a_replaced_key_ends_the_sessions_and_links_of_the_old_one(town: Town) -> None:
    signed_in, link = await town.person(), await town.link()
    await signed_in.see("/approvals")
    key = town.operator.reveal()
    app = key.removeprefix("nomos_").rsplit("_", 1)[0]
    rotated = await town.agent.post(
        f"/v1/apps/{app}/rotate", headers={"authorization": f"Bearer {key}"}
    )
    assert rotated.status_code == 200, rotated.text
    reply = await signed_in.client.get("/approvals")
    assert (reply.status_code, "/login" in reply.headers["location"]) == (303, True)
    await town.stranger().see(link, status=401)
    again = await town.stranger().sign_in(rotated.json()["apiKey"])
    assert again.status_code == 303
