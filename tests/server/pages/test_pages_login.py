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
    from server.pages.conftest import OpenSite, Site

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000
COOKIE = "nomos_session_8788"


def app_of(key: str) -> str:
    return key.removeprefix("nomos_").rsplit("_", 1)[0]


async def use_link(site: Site, link: str) -> int:
    person = site.visitor()
    page = await person.see(link)
    assert page.fields()["secret"] in link
    return (await person.post("/approvals/login", page.fields())).status_code


async def test_a_link_signs_in_once(site: Site) -> None:
    link, person = await site.link(), site.visitor()
    page = await person.see(link)
    assert "Sign in as Ada" in page.text
    first = await person.post("/approvals/login", page.fields())
    assert first.headers["location"] == "/approvals"
    assert "No pending requests" in (await person.see("/approvals")).text
    other = site.visitor()
    assert "already used" in (await other.see(link, 401)).text
    again = await person.post("/approvals/login", {**page.fields()})
    assert again.status_code == 403  # the form of another session
    form = {**(await other.see("/approvals/login")).fields(), "secret": page.fields()["secret"]}
    assert (await other.post("/approvals/login", form)).status_code == 401


async def test_one_of_many_concurrent_uses_of_a_link_signs_in(site: Site) -> None:
    link = await site.link()
    people = [site.visitor() for _ in range(8)]
    forms = [(await person.see(link)).fields() for person in people]
    replies = await asyncio.gather(
        *(person.post("/approvals/login", form) for person, form in zip(people, forms, strict=True))
    )
    assert sorted(reply.status_code for reply in replies) == [303] + [401] * 7
    assert len(await site.records("session")) == 1


async def test_a_session_covers_what_each_key_of_its_operator_does(site: Site) -> None:
    def covers(*keys: tuple[str, ...]) -> tuple[str, ...]:
        held = tuple(ApiKey("app_1", DEFAULT, "operator", "", covers=each) for each in keys)
        return browser_sessions.operator_key(Session(DEFAULT, "app_1", "Ada", NOW, held)).covers

    assert covers(("lead",)) == ("lead",)
    assert covers(("*",), ("*",)) == ("*",)
    assert covers(("*",), ("lead", "security")) == ("lead", "security")
    assert covers(("lead", "security"), ("security", "triage"), ("*",)) == ("security",)
    assert covers(("lead",), ("triage",)) == ()


async def test_opening_a_link_does_not_use_it(site: Site) -> None:
    link = await site.link()
    for _ in range(5):
        await site.visitor().see(link)
    assert await use_link(site, link) == 303


async def test_a_link_works_for_ten_minutes(site: Site) -> None:
    link, late = await site.link(), await site.link()
    site.clock.now += 599
    assert await use_link(site, link) == 303
    site.clock.now += 1
    assert "has expired" in (await site.visitor().see(late, 401)).text


async def test_a_wrong_or_truncated_link_is_refused(site: Site) -> None:
    link = await site.link()
    for wrong in (link[:-1] + ("a" if link[-1] != "a" else "b"), link[:-1], link[:-52]):
        page = await site.visitor().see(wrong, 401)
        assert "unknown to this server" in page.text
        assert page.all("input")[-1]["type"] == "password"


async def test_only_operators_make_links(site: Site) -> None:
    headers = {"authorization": f"Bearer {site.operator.reveal()}"}
    reply = await site.agent.post("/v1/login-links", headers=headers)
    assert reply.status_code == 200
    assert reply.json()["expiresAt"] == "2027-01-15T08:10:00.000Z"
    url = reply.json()["url"]
    assert re.fullmatch(
        r"http://127\.0\.0\.1:8788/approvals/login\?token=nomos_login_[0-9a-z]{52}", url
    )
    assert await use_link(site, url) == 303
    assert (await site.agent.post("/v1/login-links")).status_code == 403
    no_key = {"authorization": ""}
    assert (await site.agent.post("/v1/login-links", headers=no_key)).status_code == 401


@pytest.mark.parametrize("form", ["key", "token", "link"])
async def test_a_key_a_token_and_a_whole_link_can_be_pasted(site: Site, form: str) -> None:
    link = await site.link()
    secret = {"key": site.operator.reveal(), "token": link.split("token=")[1], "link": f" {link}\n"}
    person = site.visitor()
    assert (await person.sign_in(secret[form])).status_code == 303
    await person.see("/approvals")
    (record,) = await site.records("session")
    assert (record.act, record.actor) == ("login", app_of(site.operator.reveal()))
    assert record.detail == {"by": "api_key" if form == "key" else "link"}


async def test_keys_of_agents_auditors_and_unknown_apps_do_not_sign_in(site: Site) -> None:
    agent = await site.system.create_app("another")
    auditor = await site.system.create_app("auditor", "auditor")
    right = site.operator.reveal()
    wrong = ["", "x", "nomos_login_", right[:-1], f"Bearer {right}", "é" * 40, f"{right}\x00"]
    for secret in (agent.reveal(), auditor.reveal(), *wrong):
        person = site.visitor()
        reply = await person.sign_in(secret)
        assert reply.status_code == 401
        assert right not in reply.text
        assert (await person.client.get("/approvals")).status_code == 303
    assert await site.records("session") == []


async def test_only_hashes_are_stored_and_old_ones_deleted(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await site.link()
    person = await site.person()
    cookie = person.client.cookies[COOKIE]
    secrets = (cookie, link.split("token=")[1])
    kept = b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file())
    for secret in secrets:
        assert secret.encode() not in kept
        assert hashed(secret).encode() in kept
    site.clock.now += 2 * 24 * 60 * 60
    monkeypatch.setattr(Steady, "now", lambda _: int(site.clock()))
    await site.person()
    engine = sa.create_engine(f"sqlite:///{next((tmp_path / 'data').glob('*.db'))}")
    with engine.connect() as connection:
        count = [
            connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in (login_links, sessions)
        ]
    engine.dispose()
    assert count == [0, 1]


async def test_the_cookie_is_http_only_and_same_site_strict(
    site: Site, open_site: OpenSite, signer: AsyncSigner, tmp_path: Path
) -> None:
    def attributes(header: str) -> set[str]:
        return {part.strip().lower() for part in header.split(";")[1:]}

    person = site.visitor()
    reply = await person.sign_in(site.operator.reveal())
    sent = attributes(reply.headers["set-cookie"])
    assert sent == {"httponly", "samesite=strict", "path=/approvals", "max-age=28800"}
    secure = open_site(tmp_path / "secure", signer, control_url="https://nomos.example")
    async with secure as other:
        person = other.visitor()
        page = await person.client.get("https://nomos.example/approvals/login")
        assert "secure" in attributes(page.headers["set-cookie"])


async def test_signing_in_changes_the_cookie(site: Site) -> None:
    person = site.visitor()
    await person.see("/approvals/login")
    before = person.client.cookies[COOKIE]
    await person.sign_in(site.operator.reveal())
    assert person.client.cookies[COOKIE] != before
    attacker = site.visitor()
    attacker.client.cookies.set(COOKIE, before, path="/approvals")
    assert (await attacker.client.get("/approvals")).status_code == 303


async def test_a_session_ends_after_eight_hours(site: Site) -> None:
    person = await site.person()
    site.clock.now += browser_sessions.SESSION_SECONDS - 1
    await person.see("/approvals")
    site.clock.now += 1
    assert (await person.client.get("/approvals")).headers["location"] == "/approvals/login"


async def test_signing_out_ends_the_session_on_the_server(site: Site) -> None:
    person = await site.person()
    cookie = person.client.cookies[COOKIE]
    fields = (await person.see("/approvals")).fields()
    assert (await person.post("/approvals/logout", {"csrf": "x"})).status_code == 403
    reply = await person.post("/approvals/logout", fields)
    assert (reply.status_code, reply.headers["location"]) == (303, "/approvals/login")
    assert COOKIE not in person.client.cookies
    person.client.cookies.set(COOKIE, cookie, path="/approvals")
    assert (await person.client.get("/approvals")).status_code == 303
    assert [record.act for record in await site.records("session")] == ["login", "logout"]


async def test_a_disabled_app_and_a_lost_role_have_no_session(site: Site, tmp_path: Path) -> None:
    key = await site.system.create_app("Grace", "operator", ("*",))
    grace, ada = await site.person(key), await site.person()
    link = (await site.system.login_link(key)).reveal()
    await store_access.disable_app(site.system.store, DEFAULT, app_of(key.reveal()))
    assert (await grace.client.get("/approvals")).status_code == 303
    assert (await site.visitor().client.get(link)).status_code == 401
    assert (await site.visitor().sign_in(key.reveal())).status_code == 401
    await ada.see("/approvals")
    engine = sa.create_engine(f"sqlite:///{next((tmp_path / 'data').glob('*.db'))}")
    with engine.begin() as connection:
        connection.execute(api_keys.update().values(role="auditor"))
    engine.dispose()
    assert (await ada.client.get("/approvals")).status_code == 303


async def test_signing_in_leads_to_the_requested_page(site: Site) -> None:
    ident, person = await site.ask(), site.visitor()
    reply = await person.client.get(f"/approvals/{ident}")
    assert reply.headers["location"] == f"/approvals/login?next=/approvals/{ident}"
    reply = await person.sign_in(site.operator.reveal(), f"/approvals/{ident}")
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
async def test_signing_in_never_redirects_to_another_site(site: Site, target: str) -> None:
    person = site.visitor()
    fields = (await person.see("/approvals/login")).fields()
    fields |= {"next": target, "secret": site.operator.reveal()}
    reply = await person.post("/approvals/login", fields)
    assert (reply.status_code, reply.headers["location"]) == (303, "/approvals")
    query = await person.client.get("/approvals/login", params={"next": target})
    assert query.headers["location"] == "/approvals"


async def test_failed_sign_ins_are_limited_and_successful_ones_are_not(site: Site) -> None:
    person = site.visitor()
    for _ in range(limits.MOST_FAILURES):
        assert (await person.sign_in("nomos_wrong")).status_code == 401
    reply = await person.sign_in("nomos_wrong")
    assert reply.status_code == 429
    assert 1 <= int(reply.headers["retry-after"]) <= 61
    # Others at this address must not lock out who has a right key.
    for _ in range(limits.MOST_FAILURES + 2):
        assert (await person.sign_in(site.operator.reveal())).status_code == 303


async def test_a_link_from_another_site_is_reloaded_once(site: Site) -> None:
    """A browser keeps a strict cookie back then; the page that leads on makes it send it."""
    ident, person = await site.ask(), site.visitor()
    page = await person.see(f"/approvals/{ident}", sec_fetch_site="cross-site")
    (refresh,) = [meta for meta in page.all("meta") if meta.get("http-equiv") == "refresh"]
    assert refresh["content"] == f"0; url=/approvals/{ident}"
    signed_in = await site.person()
    await signed_in.see(f"/approvals/{ident}", sec_fetch_site="same-origin")


async def test_links_and_sessions_of_one_operator_are_bounded(site: Site) -> None:
    first = await site.link()
    for _ in range(50):
        site.clock.now += 1
        await site.link()
    assert "unknown to this server" in (await site.visitor().see(first, 401)).text


async def test_a_replaced_key_ends_the_sessions_and_links_of_the_old_one(site: Site) -> None:
    signed_in, link = await site.person(), await site.link()
    await signed_in.see("/approvals")
    key = site.operator.reveal()
    app = key.removeprefix("nomos_").rsplit("_", 1)[0]
    rotated = await site.agent.post(
        f"/v1/apps/{app}/rotate", headers={"authorization": f"Bearer {key}"}
    )
    assert rotated.status_code == 200, rotated.text
    reply = await signed_in.client.get("/approvals")
    assert (reply.status_code, "/login" in reply.headers["location"]) == (303, True)
    await site.visitor().see(link, status=401)
    again = await site.visitor().sign_in(rotated.json()["apiKey"])
    assert again.status_code == 303
