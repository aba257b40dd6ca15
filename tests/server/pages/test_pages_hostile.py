"""Hostile text of agents, forms of other sites, and visitors without a session."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from nomos.server.pages import forms
from nomos.server.storage.database import StorageUnavailable

if TYPE_CHECKING:
    from server.pages.conftest import Html, Site

pytestmark = pytest.mark.anyio

COOKIE: Final = "nomos_session_8788"
EVIL: Final = "</pre></code><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=x>"
QUOTED: Final = "&#34;&gt;&lt;script&gt;{{ 7*7 }}"
KNOWN: Final = frozenset(
    (
        "html",
        "head",
        "meta",
        "title",
        "link",
        "body",
        "a",
        "header",
        "svg",
        "path",
        "span",
        "nav",
        "form",
        "input",
        "button",
        "strong",
        "main",
        "div",
        "h1",
        "h2",
        "h3",
        "p",
        "section",
        "ul",
        "li",
        "code",
        "q",
        "aside",
        "label",
        "textarea",
        "details",
        "summary",
        "dl",
        "dt",
        "dd",
        "pre",
        "blockquote",
        "time",
        "br",
        "footer",
    )
)


def check(page: Html) -> None:
    """What must hold for every page."""
    assert {tag for tag, _ in page.tags} <= KNOWN
    assert len(page.all("h1")) == 1
    assert len(page.all("main")) == len(page.all("title")) == 1
    assert page.all("html")[0]["lang"] == "en"
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    labelled = {label["for"] for label in page.all("label")}
    for field in (*page.all("input"), *page.all("textarea")):
        assert field.get("type") == "hidden" or field["id"] in labelled
    for _, attrs in page.tags:
        assert not [name for name in attrs if name == "style" or name.startswith("on")]
        for name in ("href", "src", "action"):
            assert attrs.get(name, "/approvals").startswith(("/approvals", "#"))
        for name in ("aria-labelledby", "aria-describedby"):
            assert name not in attrs or attrs[name] in ids


async def test_every_page_is_well_formed_with_hostile_text(site: Site) -> None:
    context = {EVIL[:60]: EVIL, "list": [EVIL], "deep": {"a": {"b": EVIL}}}
    question: dict[str, Any] = {
        "command": "/filesystem/file/write",
        "resource": {"provider": "filesystem", "path": "a<b>&\"'.md"},
        "args": {"content": EVIL * 3, "encoding": "<i>utf-8</i>"},
        "purpose": EVIL,
        "context": context,
    }
    pending, settled = await site.ask(question), await site.ask({**question, "args": {}} | DELETE)
    evil = await site.system.create_app(EVIL, "operator", ("lead", "security"))
    person = await site.person(evil)
    link = (await site.system.login_link(evil)).reveal()
    await person.answer(settled, "deny", reason=EVIL)
    pages = [
        await person.see(f"/approvals/{pending}"),
        await person.see(f"/approvals/{settled}"),
        await person.see("/approvals"),
        await person.see(link),
        await person.see("/approvals/<script>", 404),
        await site.visitor().see("/approvals/login"),
        await site.visitor().see("/approvals", sec_fetch_site="cross-site"),
    ]
    for page in pages:
        check(page)
    for page in pages[:2]:
        assert EVIL in "".join(page.words)
    assert "a<b>&\"'.md" in pages[0].text
    assert "<i>utf-8</i>" in pages[0].text


DELETE: Final[dict[str, Any]] = {
    "command": "/github/repo/delete",
    "resource": {"provider": "github", "owner": "acme", "repo": "attic"},
}


async def test_text_of_agents_is_not_rendered_as_a_template(site: Site) -> None:
    ident = await site.ask(purpose="{{ 7*7 }}{% raw %}", args={"content": QUOTED})
    page = await (await site.person()).see(f"/approvals/{ident}")
    assert "{{ 7*7 }}{% raw %}" in page.text
    assert QUOTED in page.text


async def test_invisible_characters_are_marked(site: Site) -> None:
    hidden = "safe\u202e\u200b\u200b\u00ad\ufeff\u2066\u00a0\U000e0041end"
    ident = await site.ask(
        args={"content": f"one\rtwo\x1b[2Kthree {hidden} \n"}, purpose="say\u202eyas\u200d"
    )
    person = await site.person()
    reply = await person.client.get(f"/approvals/{ident}")
    for letter in "\u202e\u200b\u00ad\ufeff\u2066\u00a0\U000e0041\u200d\x1b\r":
        assert letter not in reply.text
        assert f"U+{ord(letter):04X}" in reply.text
    assert 'title="right-to-left override"' in reply.text
    assert "U+200B \u00d72" in reply.text
    assert "The agent sent 12 invisible characters" in reply.text
    queue = await person.client.get("/approvals")
    assert "\u202e" not in queue.text
    assert "U+202E" in queue.text


async def test_confusable_letters_are_spelled_out(site: Site) -> None:
    ident = await site.ask(args={"content": "p\u0430ypal", "encoding": "\u05d0\u05d1"})
    page = await (await site.person()).see(f"/approvals/{ident}")
    assert 'In ASCII "p\\u0430ypal"' in page.text
    assert "right-to-left text" in page.text


async def test_a_text_is_distinguished_from_a_number(site: Site) -> None:
    ident = await site.ask(context={"a": "5", "b": 5, "c": True, "d": "", "e": [1, "1"]})
    page = await (await site.person()).see(f"/approvals/{ident}")
    expected = 'a text 5 b number 5 c true or false true d text empty text e list [1, "1"]'
    assert expected in page.text


@pytest.mark.parametrize("path", ["/approvals/login", "/approvals", "/approvals/x", "/approvals/"])
async def test_every_reply_has_restrictive_security_headers(site: Site, path: str) -> None:
    for person in (site.visitor(), await site.person()):
        headers = (await person.client.get(path)).headers
        assert headers["content-security-policy"] == (
            "default-src 'none'; style-src 'self'; form-action 'self'; "
            "frame-ancestors 'none'; base-uri 'none'"
        )
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers


async def test_the_style_sheet_is_self_contained_and_cached(site: Site) -> None:
    person = site.visitor()
    (sheet,) = (await person.see("/approvals/login")).all("link")
    assert re.fullmatch(r"/approvals/style\.[0-9a-f]{16}\.css", sheet["href"])
    reply = await person.client.get(sheet["href"])
    assert reply.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in reply.headers["cache-control"]
    assert not re.search(r"url\(|@import|https?:", reply.text)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "https://127.0.0.1:8788"},
        {"origin": "http://127.0.0.1:8788.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "null", "sec-fetch-site": "cross-site"},
    ],
)
async def test_forms_of_other_sites_are_refused(site: Site, headers: dict[str, str]) -> None:
    ident, person = await site.ask(), await site.person()
    fields = (await person.see(f"/approvals/{ident}")).fields() | {"decision": "approve"}
    for path in (f"/approvals/{ident}", "/approvals/logout", "/approvals/login"):
        reply = await person.post(path, {**fields, "secret": site.operator.reveal()}, headers)
        assert reply.status_code == 403
        assert "sent from another site" in reply.text
    assert "May this agent call" in (await person.see(f"/approvals/{ident}")).text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8788"},
        {"origin": "http://127.0.0.1:8788", "sec-fetch-site": "same-origin"},
        {"origin": "http://localhost:8788", "host": "localhost:8788"},
    ],
)
async def test_forms_of_the_page_are_accepted(site: Site, headers: dict[str, str]) -> None:
    ident, person = await site.ask(), await site.person()
    cookie = {"cookie": f"{COOKIE}={person.client.cookies[COOKIE]}"}
    fields = (await person.see(f"/approvals/{ident}")).fields() | {"decision": "approve"}
    reply = await person.post(f"/approvals/{ident}", fields, headers | cookie)
    assert reply.status_code == 303


async def test_a_form_needs_the_secret_of_its_session(site: Site) -> None:
    ident, person, other = await site.ask(), await site.person(), await site.person()
    right = (await person.see(f"/approvals/{ident}")).fields()["csrf"]
    foreign = (await other.see(f"/approvals/{ident}")).fields()["csrf"]
    assert right != foreign
    for wrong in ("", "x", right[:-1], right.upper(), foreign, "é" * 64):
        fields = {"decision": "approve", "csrf": wrong}
        reply = await person.post(f"/approvals/{ident}", fields)
        assert reply.status_code == 403
        assert "belongs to another session" in reply.text
    reply = await person.post(f"/approvals/{ident}", {"decision": "approve"})
    assert reply.status_code == 403
    assert "May this agent call" in (await person.see(f"/approvals/{ident}")).text


async def test_a_form_of_another_visitor_does_not_sign_in(site: Site) -> None:
    """A victim who acts in an attacker's session would act for them."""
    attacker, victim = site.visitor(), site.visitor()
    fields = (await attacker.see("/approvals/login")).fields()
    fields |= {"secret": site.operator.reveal()}
    assert (await victim.post("/approvals/login", fields, {})).status_code == 403
    await victim.see("/approvals/login")
    assert (await victim.post("/approvals/login", fields, {})).status_code == 403


async def test_without_a_session_pages_redirect_and_votes_are_refused(site: Site) -> None:
    ident, person = await site.ask(), site.visitor()
    for cookie in ("", "x" * 52, "é", "a" * 5000):
        headers = {"cookie": f"{COOKIE}={cookie}".encode()}
        reply = await person.client.get(f"/approvals/{ident}", headers=headers)  # type: ignore[arg-type]
        assert reply.status_code == 303
        assert "notes" not in reply.text
    reply = await person.post(f"/approvals/{ident}", {"decision": "approve", "csrf": "x"})
    assert reply.headers["location"] == f"/approvals/login?next=/approvals/{ident}"
    assert await site.records("approval") == []


async def test_an_api_key_is_no_session_and_a_session_no_api_key(site: Site) -> None:
    person = await site.person()
    bearer = {"authorization": f"Bearer {site.operator.reveal()}"}
    assert (await site.visitor().client.get("/approvals", headers=bearer)).status_code == 303
    assert (await person.client.get("/v1/approvals")).status_code == 401


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"csrf=" + b"a" * forms.MAX_FORM, forms.TYPE, 413),
        (b"&".join(b"a%d=1" % number for number in range(20)), forms.TYPE, 400),
        (b"csrf=1&csrf=2", forms.TYPE, 400),
        (b"csrf=%ff", forms.TYPE, 400),
        (b"csrf=\xff", forms.TYPE, 400),
        (b"csrf", forms.TYPE, 400),
        (b'{"csrf": "x"}', "application/json", 400),
        (b"csrf=x", "text/plain", 400),
        (b"", "", 400),
    ],
)
async def test_a_body_that_is_no_form_is_refused_with_a_page(
    site: Site, content: bytes, kind: str, status: int
) -> None:
    person = await site.person()
    for path in ("/approvals/login", "/approvals/logout", "/approvals/env_" + "0" * 26):
        headers = {"content-type": kind, "x-request-id": "abc-2"}
        reply = await person.client.post(path, content=content, headers=headers)
        assert reply.status_code == status
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert "abc-2" in reply.text


async def test_failures_are_pages_with_the_request_id(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    person = await site.person()

    async def unavailable(_: str) -> None:
        raise StorageUnavailable("the disk is full")

    async def broken(_: str) -> None:
        raise RuntimeError("a secret cause")

    for failing, status in ((unavailable, 503), (broken, 500)):
        monkeypatch.setattr(site.system.store.sessions, "find", failing)
        reply = await person.client.get("/approvals", headers={"x-request-id": "abc-3"})
        assert reply.status_code == status
        assert "abc-3" in reply.text
        assert "secret cause" not in reply.text
        assert "disk" not in reply.text
    assert "a secret cause" in caplog.text


async def test_pages_are_not_among_the_documented_routes(site: Site) -> None:
    document = (await site.agent.get("/openapi.json")).json()
    assert not [path for path in document["paths"] if path.startswith("/approvals")]
    assert "/v1/login-links" in document["paths"]
