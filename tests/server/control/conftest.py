"""A real system in a temporary folder, with the real binary, called without a port."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import store_access

from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos._protocol import LoadKey, LoadKeyAnswer
from nomos.audit.record import Record
from nomos.policy.bundle import Source
from nomos.server.app import System
from nomos.server.domain.accounts import EVERY_ROLE, Role
from nomos.server.settings import Settings
from nomos.server.signing.keys import SignerPort
from nomos.server.storage.tenants import DEFAULT

NOW: Final = 1_800_000_000

LIST: Final[Mapping[str, Any]] = {
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}

POLICY: Final = """
@id("reads") permit(principal, action in Action::"/github", resource is Github)
when { resource has owner && resource.owner == "acme" };

@id("files") permit(principal, action in Action::"/filesystem", resource is Filesystem);

@id("frozen") @reason("the archive is frozen")
forbid(principal, action in Action::"/github", resource is Github)
when { resource has repo && resource.repo == "archive" };

@id("careful") @step_up("lead") @reason("a lead looks at this first")
forbid(principal, action == Action::"/github/pr/create", resource is Github)
unless { context.cosigned };

@id("slowly")
forbid(principal, action == Action::"/github/repo/read", resource is Github)
when { context.rate >= 2 };

@id("broken")
forbid(principal, action == Action::"/github/issue/read", resource is Github)
when { context.rate + 9223372036854775807 > 0 && context.rate - 1 + 9223372036854775807 > 0 };

@id("for-a-reason")
forbid(principal, action == Action::"/filesystem/dir/list", resource is Filesystem)
unless { context.purpose == "tidy up" && context.agent has team && context.agent.team == "blue" };

@id("bound")
forbid(principal, action == Action::"/filesystem/file/write", resource is Filesystem)
unless { context.argsBound };
"""


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Plane:
    """A system, an agent of it, and a client with the agent's API key."""

    system: System
    clock: Clock
    client: httpx.AsyncClient
    key: str

    @property
    def app(self) -> str:
        return self.key.removeprefix("nomos_").rsplit("_", 1)[0]

    async def ask(
        self, headers: Mapping[str, str] | None = None, /, **changes: Any
    ) -> httpx.Response:
        """Ask `LIST` with changes; a member changed to `...` is left out."""
        body = {name: value for name, value in {**LIST, **changes}.items() if value is not ...}
        return await self.client.post("/v1/authorize", json=body, headers=headers)

    @staticmethod
    def payload(jwt: str) -> dict[str, Any]:
        """What a token says, unchecked."""
        middle = jwt.split(".")[1]
        padded = middle + "=" * (-len(middle) % 4)
        read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(padded))
        return read

    async def receipts(self) -> tuple[Record, ...]:
        return await store_access.receipts(self.system.store, DEFAULT, 1000)

    async def another(self, role: Role = "agent") -> dict[str, str]:
        """The headers of a new app's key; an operator's covers every role."""
        covers = (EVERY_ROLE,) if role == "operator" else ()
        key = await self.system.create_app(f"another {role}", role, covers)
        return {"authorization": f"Bearer {key.reveal()}"}


OpenPlane = Callable[..., AbstractAsyncContextManager[Plane]]


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
def agent(link: SignerConnection) -> str:
    """The DID of an agent that keeps its own key."""
    answer = Signer(link).ask(LoadKey(seed="07" * 32))
    assert isinstance(answer, LoadKeyAnswer)
    return answer.key


@asynccontextmanager
async def _open(
    data: Path,
    signer: SignerPort,
    *,
    policy: str = POLICY,
    clock: Clock | None = None,
    key: str | None = None,
    facts: Mapping[str, str] | None = None,
    providers: Path | None = None,
) -> AsyncIterator[Plane]:
    clock = clock or Clock()
    settings = Settings(
        data=data,
        policies=(Source("policy.cedar", policy),),
        facts={"team": "String"} if facts is None else facts,
        providers=providers,
    )
    system = await System.open(settings, signer, clock=clock)
    try:
        key = key or (await system.create_app("tests")).reveal()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=system.control, raise_app_exceptions=False),
            base_url="http://control",
            headers={"authorization": f"Bearer {key}"},
        ) as client:
            yield Plane(system, clock, client, key)
    finally:
        await system.close()


@pytest.fixture(scope="session")
def open_plane() -> OpenPlane:
    """What opens a system on a folder and closes it: an async context manager."""
    return _open


@pytest.fixture
async def plane(tmp_path: Path, signer: AsyncSigner) -> AsyncIterator[Plane]:
    """A system of the test's own."""
    async with _open(tmp_path / "data", signer) as plane:
        yield plane


@pytest.fixture(scope="module")
async def standing(
    tmp_path_factory: pytest.TempPathFactory, signer: AsyncSigner
) -> AsyncIterator[Plane]:
    """A system for tests that leave nothing behind which another would see."""
    async with _open(tmp_path_factory.mktemp("standing") / "data", signer) as plane:
        yield plane
