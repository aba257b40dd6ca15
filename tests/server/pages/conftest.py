"""A real system, agents that ask, and operators with browsers: httpx clients with cookies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import store_access

from nomos._io.signer import AsyncSigner, SignerConnection
from nomos.audit.record import Record
from nomos.models import Secret
from nomos.policy.bundle import Source
from nomos.server.app import System
from nomos.server.settings import Settings
from nomos.server.storage.tenants import DEFAULT

NOW: Final = 1_800_000_000
URL: Final = "http://127.0.0.1:8788"
COOKIE: Final = "nomos_session_8788"
FROM_PAGE: Final = {"origin": "null", "sec-fetch-site": "same-origin"}
"""What browsers say of a form on a page that asks for no referrer."""

POLICY: Final = """
@id("everyone") permit(principal, action, resource);

@id("writes") @step_up("lead") @reason("somebody reads it first")
forbid(principal, action == Action::"/filesystem/file/write", resource is Filesystem)
unless { context.cosigned };

@id("deletion") @step_up("lead") @reason("it cannot be undone")
forbid(principal, action == Action::"/github/repo/delete", resource is Github)
unless { context.cosigned };

@id("releases") @step_up("security")
forbid(principal, action == Action::"/github/repo/delete", resource is Github)
unless { context.cosigned };
"""
WRITE: Final[Mapping[str, Any]] = {
    "command": "/filesystem/file/write",
    "resource": {"provider": "filesystem", "path": "notes/today.md"},
    "args": {"content": "# Today\n"},
    "purpose": "Begin the notes.",
}
DELETE: Final[Mapping[str, Any]] = {
    "command": "/github/repo/delete",
    "resource": {"provider": "github", "owner": "acme", "repo": "attic"},
}
VOID: Final = frozenset(("meta", "link", "input", "br"))


class Html(HTMLParser):
    """A page as a browser would have it; raises for what is not well formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "path", f"<{tag}/> is no element of its own in HTML"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def fields(self) -> dict[str, str]:
        """The hidden fields of the page's own form: the last one, after that for signing out."""
        fields: dict[str, str] = {}
        for tag, attrs in self.tags:
            if tag == "form":
                fields = {}
            elif tag == "input" and attrs.get("type") == "hidden":
                fields[attrs["name"]] = attrs["value"]
        return fields


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Person:
    """A visitor with a browser."""

    client: httpx.AsyncClient

    async def see(self, path: str, status: int = 200, **headers: str) -> Html:
        """Open a page, going where it leads."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.client.get(path, headers=sent, follow_redirects=True)
        assert reply.status_code == status, reply.text
        return Html(reply.text)

    async def post(
        self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] = FROM_PAGE
    ) -> httpx.Response:
        """Send a form, going nowhere."""
        return await self.client.post(path, data=dict(fields), headers=headers)

    async def sign_in(self, secret: str, target: str = "/approvals") -> httpx.Response:
        """Fill in the form."""
        page = await self.see(f"/approvals/login?next={target}")
        return await self.post("/approvals/login", {**page.fields(), "secret": secret})

    async def answer(self, ident: str, decision: str, **more: str) -> httpx.Response:
        """Open a question and press a button."""
        page = await self.see(f"/approvals/{ident}")
        fields = {**page.fields(), "decision": decision, **more}
        return await self.post(f"/approvals/{ident}", fields)


@dataclass
class Site:
    """A system with an agent and an operator who answers for everything."""

    system: System
    clock: Clock
    agent: httpx.AsyncClient
    operator: Secret
    people: list[httpx.AsyncClient] = field(default_factory=list)

    def visitor(self) -> Person:
        """A person who is not signed in."""
        client = _client(self.system)
        self.people.append(client)
        return Person(client)

    async def person(self, key: Secret | None = None) -> Person:
        """A person who signed in with the key of an operator."""
        person = self.visitor()
        reply = await person.sign_in((key or self.operator).reveal())
        assert reply.status_code == 303, reply.text
        return person

    async def link(self) -> str:
        """A one-time link, as path and query."""
        made = await self.system.login_link(self.operator)
        return made.reveal().removeprefix(URL)

    async def ask(self, question: Mapping[str, Any] = WRITE, **changes: Any) -> str:
        """Ask what needs people; the id of what they see."""
        body = {**question, **changes}
        reply = await self.agent.post("/v1/authorize", json=body)
        answer = reply.json()
        assert answer.get("decision") == "requires_step_up", answer
        ident: str = answer["approvalEnvelopeId"]
        return ident

    async def use(self, ident: str, question: Mapping[str, Any] = WRITE) -> None:
        """Ask again with the approval."""
        body = {**question, "cosignerEnvelopeId": ident}
        answer = (await self.agent.post("/v1/authorize", json=body)).json()
        assert answer["decision"] == "allow", answer

    async def records(self, kind: str) -> list[Record]:
        """What the audit log has of one kind, oldest first."""
        found = await store_access.receipts(self.system.store, DEFAULT, 1000)
        return [record for record in reversed(found) if record.kind == kind]


def _client(system: System, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=system.control, raise_app_exceptions=False),
        base_url=URL,
        headers=headers,
    )


OpenSite = Callable[..., AbstractAsyncContextManager[Site]]


@asynccontextmanager
async def _open(data: Path, signer: AsyncSigner, **settings: Any) -> AsyncIterator[Site]:
    clock = Clock()
    chosen = Settings(
        data=data, policies=(Source("policy.cedar", POLICY),), **{"control_url": URL, **settings}
    )
    system = await System.open(chosen, signer, clock=clock)
    try:
        operator = await system.create_app("Ada", "operator", ("*",))
        agent = await system.create_app("robot")
        async with _client(system, authorization=f"Bearer {agent.reveal()}") as client:
            site = Site(system, clock, client, operator)
            yield site
            for person in site.people:
                await person.aclose()
    finally:
        await system.close()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The server runs under asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def link(binary: Path) -> Iterator[SignerConnection]:
    link = SignerConnection(binary)
    yield link
    link.close()


@pytest.fixture(scope="session")
def signer(link: SignerConnection) -> AsyncSigner:
    return AsyncSigner(link)


@pytest.fixture(scope="session")
def open_site() -> OpenSite:
    """What opens a system on a folder and closes it: an async context manager."""
    return _open


@pytest.fixture
async def site(tmp_path: Path, signer: AsyncSigner) -> AsyncIterator[Site]:
    """A system of the test's own."""
    async with _open(tmp_path / "data", signer) as site:
        yield site
