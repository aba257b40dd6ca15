"""A real PDP on a free port of 127.0.0.1, and a local upstream that answers like GitHub.

The signer is the real binary and the store is the real store. `FailingStore` can make the store
fail on request, which the real one does too rarely to test.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import pytest
import store_access
import uvicorn

from nomos._core.revocation_status import RevocationStatus
from nomos._io.binary_location import find_binary
from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos._protocol import (
    Delegate,
    Delegation,
    Invocation,
    Invoke,
    LoadKey,
    LoadKeyAnswer,
    Signed,
)
from nomos.audit.record import Record
from nomos.models import Secret
from nomos.policy.bundle import Source, load
from nomos.server.pdp.context import PdpContext, PdpLimits
from nomos.server.pdp.revocations import StoreView
from nomos.server.pdp.routes import create_pdp
from nomos.server.policies.active import ActivePolicy
from nomos.server.providers.catalog import load_catalog
from nomos.server.run import bind
from nomos.server.settings import UpstreamTarget
from nomos.server.storage.store import Store

T = TypeVar("T")

NOW: Final = 1_800_000_000
TENANT: Final = "acme"
CREDENTIAL: Final = "ghp_" + "c0ffee" * 6
LEAKED: Final = "ghp_" + "A1b2C3d4" * 5

POLICY: Final = """
@id("anyone") permit(principal, action, resource);

@id("no-secrets")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "secret/*" };

@id("careful") @step_up("lead") @reason("a person looks at careful files first")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "careful/*" } unless { context.cosigned };

@id("bound-only")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "bound/*" } unless { context.argsBound };

@id("for-reports")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "reports/*" } unless { context.purpose == "report" };

@id("blue-team")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "blue/*" }
unless { context.agent has team && context.agent.team == "blue" };

@id("slowly")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "slow/*" && context.rate >= 3 };

@id("roots-only")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "roots/*" && principal.delegationDepth > 0 };

@id("one-crew")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "crew/*" }
unless { principal.swarmId == "app_1123456789abcdefghjkmnpqrs/crew" };

@id("families")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "kept/*" && principal.swarmId != "" };

@id("quarantined")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "clean/*" && principal.invokedBy.contains("UNRELATED") };

@id("pinned")
forbid(principal, action in Action::"/filesystem", resource is Filesystem)
when { resource.path like "pinned/*" } unless { principal.rootAgent == "UNRELATED" };

@id("blocked-app")
forbid(principal in App::"app_blocked", action, resource);
"""


seeds = itertools.count(1000)


class FailingStore:
    """The real store, of which single methods can be made to fail."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.broken: set[str] = set()
        self.failing_after: int | None = None
        self._records = itertools.count()

    def reset(self) -> None:
        self.broken.clear()
        self.failing_after = None
        self._records = itertools.count()

    async def revoked(self, ids: Collection[str]) -> frozenset[str]:
        self._check("revoked")
        return await self.store.revoked(ids)

    async def ready(self) -> None:
        self._check("ready")
        await self.store.ready()

    async def claim_nonce(
        self, issuer: str, audience: str, nonce: str, expires_at: int, family: str | None = None
    ) -> bool:
        self._check("claim_nonce")
        return await self.store.claim_nonce(issuer, audience, nonce, expires_at, family)

    @property
    def delegations(self) -> FailingStore:
        return self

    async def note(self, links: Sequence[Record]) -> str | None:
        self._check("note")
        return await self.store.delegations.note(links)

    async def record(self, receipt: Record) -> None:
        self._check("record")
        if self.failing_after is not None and next(self._records) >= self.failing_after:
            raise OSError("the disk is full")
        await self.store.record(receipt)

    def _check(self, method: str) -> None:
        if method in self.broken:
            raise OSError("the disk is gone")


@dataclass
class DelayedView:
    """The view of revocations that the store gives, which can be made to look old."""

    view: StoreView
    age: int = 0
    error: str | None = None

    async def lookup(self, ids: Collection[str]) -> RevocationStatus:
        return replace(await self.view.lookup(ids), age_seconds=self.age, error=self.error)


@dataclass
class Upstream:
    """What the upstream was asked, and where it is."""

    url: str
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    connections: set[Any] = field(default_factory=set)


ISSUE: Final = {"number": 1, "title": "It breaks", "state": "open", "body": f"use {LEAKED}"}

REPLIES: Final[Mapping[str, tuple[int, Any]]] = {
    "GET /repos/acme/app": (200, {"id": 7, "full_name": "acme/app", "private": True}),
    "GET /repos/acme/app/issues": (200, [ISSUE]),
    "GET /repos/acme/app/issues/1": (200, ISSUE),
    "POST /repos/acme/app/issues": (201, {"number": 2, "title": "New"}),
    "POST /repos/acme/app/pulls": (201, {"number": 3, "title": "Pull"}),
    "POST /repos/acme/picky/issues": (422, {"message": "Validation Failed"}),
    "POST /repos/acme/broken/issues": (500, {"message": "oops"}),
    "GET /repos/acme/moved": (301, {"url": "elsewhere"}),
    "GET /repos/acme/locked": (401, {"message": f"Bad credentials {CREDENTIAL}"}),
    "GET /repos/acme/echo": (200, {"you sent": CREDENTIAL, CREDENTIAL: ["x", CREDENTIAL]}),
    "GET /repos/acme/empty": (204, None),
    "GET /repos/acme/limited": (429, {}),
    "GET /repos/acme/dated": (429, {}),
    "GET /repos/acme/unclear": (429, {}),
    "GET /repos/acme/secondary": (403, {}),
    "GET /repos/acme/forbidden": (403, {}),
    "GET /repos/acme/resting": (503, {}),
    "GET /repos/acme/squeezed": (200, {"id": 1}),
    "GET /repos/acme/twice": (200, {"id": 1}),
}

AFTER: Final[Mapping[str, str]] = {
    "/repos/acme/limited": "7",
    "/repos/acme/dated": "Wed, 21 Oct 2026 07:28:09 GMT",
    "/repos/acme/unclear": "soon\x01",
    "/repos/acme/secondary": "60",
    "/repos/acme/resting": "99999999",
}
"""What `Retry-After` these have."""

RAW: Final[Mapping[str, bytes]] = {
    "GET /repos/acme/html": b"<html>no</html>",
    "GET /repos/acme/nan": b'{"score": NaN}',
    "GET /repos/acme/infinite": b'{"score": 1e999}',
    "GET /repos/acme/deep": b"[" * 100_000,
    "GET /repos/acme/surrogate": b'{"half": "\\ud800"}',
    "GET /repos/acme/huge": b'"' + b"x" * (5 * 1024 * 1024) + b'"',
}


class _GitHub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _UpstreamServer

    def _answer(self) -> None:
        world = self.server.world
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        path, _, _ = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        world.connections.add(self.client_address)
        world.seen.append((self.command, self.path, headers, body))
        if path in ("/repos/acme/silent", "/repos/acme/slammed"):
            if path.endswith("silent"):
                world.release.wait(10)
            self.close_connection = True
            return
        route = f"{self.command} {path}"
        status, answer = REPLIES.get(route, (404, {"message": "Not Found"}))
        content = b"" if answer is None else json.dumps(answer).encode()
        if route in RAW:
            status, content = 200, RAW[route]
        self.send_response_only(status)
        self.send_header("date", "Wed, 21 Oct 2026 07:28:00 GMT")
        if path in AFTER:
            self.send_header("retry-after", AFTER[path])
        if status == 301:
            self.send_header("location", f"{world.url}/repos/acme/app")
        self.send_header("set-cookie", "session=upstream")
        self.send_header("x-upstream", "secret-header")
        if path == "/repos/acme/squeezed":
            self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        try:
            again = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
            self.wfile.write(content + again if path == "/repos/acme/twice" else content)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _UpstreamServer(ThreadingHTTPServer):
    daemon_threads = True
    world: Upstream

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@dataclass
class World:
    """A PDP with what it stands on, and everything needed to make tokens for it."""

    url: str
    folder: Path
    store: FailingStore
    view: DelayedView
    ports: PdpContext
    upstream: Upstream
    signer: Signer
    client: httpx.Client
    loop: asyncio.AbstractEventLoop
    dids: Mapping[str, str]
    now: float = NOW
    nonces: Iterator[int] = field(default_factory=itertools.count)

    # Making tokens

    def grant(
        self,
        command: str,
        resource: Mapping[str, Any] | None,
        *,
        by: str = "issuer",
        to: str = "agent",
        pol: Sequence[Any] = (),
        ttl: int = 300,
        nbf: int | None = None,
        prf: Sequence[str] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Signed:
        """A delegation as the control plane makes it."""
        constraint = {} if resource is None else {"resource_constraint": dict(resource)}
        here = {"audience": self.dids["pdp"]} if prf is None or by == "issuer" else {}
        payload = Delegation(
            iss=self.dids[by],
            aud=self.dids[to],
            sub=self.dids["issuer"] if prf is not None else self.dids[by],
            cmd=command,
            pol=[list(statement) for statement in pol],
            nonce=self.nonce(),
            nbf=int(self.now) - 60 if nbf is None else nbf,
            exp=int(self.now) + ttl,
            meta={"app_id": "app_1", **here, **constraint, **(meta or {})},
            prf=None if prf is None else list(prf),
        )
        return self.sign(Delegate(key=payload.iss, payload=payload))

    def invoke(
        self,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None,
        chain: Sequence[str],
        *,
        by: str = "agent",
        at: str = "pdp",
        root: str = "issuer",
        ttl: int = 60,
        nonce: str | None = None,
    ) -> str:
        payload = Invocation(
            iss=self.dids[by],
            aud=self.dids[at],
            sub=self.dids[root],
            cmd=command,
            args={"resource": dict(resource), **(args or {})},
            nonce=nonce or self.nonce(),
            iat=int(self.now) - 60,
            exp=int(self.now) + ttl,
            prf=list(chain),
        )
        return self.sign(Invoke(key=payload.iss, payload=payload)).jwt

    def token(
        self,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        **grant: Any,
    ) -> str:
        """What `grant.ucan` is: an invocation on a fresh delegation."""
        root = self.grant(command, resource, **grant)
        return self.invoke(command, resource, args, [root.jwt])

    def sign(self, request: Delegate | Invoke) -> Signed:
        answer = self.signer.ask(request)
        assert isinstance(answer, Signed), answer
        return answer

    def nonce(self) -> str:
        return f"nonce-{next(self.nonces):06}"

    # Calling

    def call(self, method: str, command: str, token: str | None, **request: Any) -> httpx.Response:
        headers = dict(request.pop("headers", {}))
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return self.client.request(method, f"{self.url}{command}", headers=headers, **request)

    def read(self, path: str, **token: Any) -> httpx.Response:
        """Read a file as an agent that was granted just that."""
        granted = self.token("/filesystem/file/read", file(path), **token)
        return self.call("GET", "/filesystem/file/read", granted, params={"path": path})

    def write(self, path: str, content: str, **more: str) -> httpx.Response:
        """Write a file as an agent that was granted just that."""
        args = {**more, "content": {"sha256": sha256(content)}}
        granted = self.token(
            "/filesystem/file/write", file(path), args, pol=[["==", ".args", args]]
        )
        return self.call(
            "PUT", "/filesystem/file/write", granted, json={"path": path, "content": content} | more
        )

    # Looking behind the curtain

    def receipts(self, response: httpx.Response) -> list[Record]:
        """The receipts of one request; that of the intent, which has no status, first."""
        wanted = response.headers["x-request-id"]
        rows = self.run(store_access.receipts(self.store.store, TENANT, 10_000))
        mine = [row for row in rows if row.request_id == wanted]
        return sorted(mine, key=lambda row: row.status or 0)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


def file(path: str) -> dict[str, str]:
    return {"provider": "filesystem", "path": path}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="session")
def signer() -> Iterator[Signer]:
    link = SignerConnection(find_binary())
    yield Signer(link)
    link.close()


@pytest.fixture(scope="session")
def dids(signer: Signer) -> Mapping[str, str]:
    names = ("issuer", "agent", "pdp", "child", "stranger", "other_issuer", "revoked_agent")
    found = {}
    for number, name in enumerate(names, start=1):
        answer = signer.ask(LoadKey(seed=f"{number:064x}"))
        assert isinstance(answer, LoadKeyAnswer), answer
        found[name] = answer.key
    return found


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    server = _UpstreamServer(("127.0.0.1", 0), _GitHub)
    world = server.world = Upstream(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield world
    world.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def pdp(
    tmp_path_factory: pytest.TempPathFactory,
    signer: Signer,
    dids: Mapping[str, str],
    upstream: Upstream,
) -> Iterator[World]:
    data = tmp_path_factory.mktemp("data")
    folder = tmp_path_factory.mktemp("workspace")
    listener = bind("127.0.0.1", 0)
    link = SignerConnection(find_binary())
    running: Future[tuple[World, uvicorn.Server]] = Future()

    async def serve() -> None:
        store = Store(data, lambda: NOW)
        await store.migrate()
        failing_store = FailingStore(store)
        view = DelayedView(StoreView(failing_store))
        catalog = load_catalog()
        policy = POLICY.replace("UNRELATED", dids["stranger"])
        ports = PdpContext(
            signer=AsyncSigner(link),
            store=failing_store,
            revocations=view,
            live=ActivePolicy(load([Source("test.cedar", policy)], catalog, {"team": "String"})),
            catalog=catalog,
            pdp_did=dids["pdp"],
            trusted_issuers={dids["issuer"]: TENANT},
            clock=lambda: made.now,
            workspace=folder,
            upstreams={"github": UpstreamTarget(upstream.url, Secret(CREDENTIAL))},
            limits=PdpLimits(upstream_seconds=1.0),
        )
        made = World(
            url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            folder=folder,
            store=failing_store,
            view=view,
            ports=ports,
            upstream=upstream,
            signer=signer,
            client=httpx.Client(trust_env=False, timeout=30),
            loop=asyncio.get_running_loop(),
            dids=dids,
        )
        config = uvicorn.Config(
            create_pdp(ports),
            log_config=None,
            server_header=False,
            h11_max_incomplete_event_size=96 * 1024,
        )
        server = uvicorn.Server(config)
        running.set_result((made, server))
        await server.serve(sockets=[listener])
        await store.close()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if running.done():
                raise
            running.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        found, server = running.result(30)
        yield found
        found.client.close()
        server.should_exit = True
    finally:
        thread.join()
        listener.close()
        link.close()


@pytest.fixture
def world(pdp: World) -> Iterator[World]:
    """The PDP as it was at the start, with an empty workspace."""
    yield pdp
    pdp.store.reset()
    pdp.view.age, pdp.view.error = 0, None
    pdp.now = NOW
    pdp.upstream.seen.clear()
    pdp.upstream.release.clear()
    _empty(pdp.folder)


@pytest.fixture
def did(world: World) -> Callable[[], str]:
    """Makes keys that no other test revokes."""

    def made() -> str:
        answer = world.signer.ask(LoadKey(seed=f"{next(seeds):064x}"))
        assert isinstance(answer, LoadKeyAnswer)
        world.dids = {**world.dids, answer.key: answer.key}
        return answer.key

    return made


def _empty(folder: Path) -> None:
    for found in folder.iterdir():
        if found.is_dir() and not found.is_symlink():
            _empty(found)
            found.rmdir()
        else:
            found.unlink()
