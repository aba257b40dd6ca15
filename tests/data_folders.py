"""A data folder with used and revoked tokens, and ways to damage it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import store_access

from nomos._io.signer import AsyncSigner, SignerConnection
from nomos.policy.bundle import Source
from nomos.server.app import System
from nomos.server.settings import Settings

NOW = 1_800_000_000
POLICY = Source("all.cedar", "permit(principal, action, resource);")
CONTENT = "new"


class Clock:
    """Stands still until it is set."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Running:
    """A system on a folder, and clients of both its halves."""

    system: System
    clock: Clock
    control: httpx.AsyncClient
    pdp: httpx.AsyncClient
    key: str

    async def ask(self, command: str = "/filesystem/file/read", **more: Any) -> httpx.Response:
        resource = {"provider": "filesystem", "path": "a.txt"}
        body = {"command": command, "resource": resource, "ttlSeconds": 3600, **more}
        return await self.control.post("/v1/authorize", json=body)

    async def grant(self, command: str = "/filesystem/file/read", **more: Any) -> dict[str, Any]:
        reply = await self.ask(command, **more)
        assert reply.json().get("decision") == "allow", reply.text
        found: dict[str, Any] = reply.json()
        return found

    async def write_token(self, **more: Any) -> str:
        args = {"content": CONTENT}
        found = await self.grant("/filesystem/file/write", args=args, **more)
        return str(found["ucan"])

    async def read(self, token: str) -> str:
        """`ok`, or the code of the PDP's refusal."""
        reply = await self.pdp.get("/filesystem/file/read?path=a.txt", headers=bearer(token))
        return "ok" if reply.status_code == 200 else str(reply.json()["error_code"])

    async def write(self, token: str) -> httpx.Response:
        return await self.pdp.put(
            "/filesystem/file/write",
            json={"path": "a.txt", "content": CONTENT},
            headers=bearer(token),
        )

    async def wrote(self, token: str) -> str:
        reply = await self.write(token)
        return "ok" if reply.status_code == 200 else str(reply.json()["error_code"])

    async def ready(self) -> tuple[int, int]:
        """The status of both halves' readiness."""
        replies = [await half.get("/readyz") for half in (self.control, self.pdp)]
        return replies[0].status_code, replies[1].status_code


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@asynccontextmanager
async def opened(
    data: Path,
    link: SignerConnection,
    clock: Clock | None = None,
    *,
    key: str | None = None,
    **more: Any,
) -> AsyncIterator[Running]:
    """Start a system on `data` and stop it; `key` is an API key that it knows already."""
    clock = clock or Clock()
    settings = Settings(data=data, **{"policies": (POLICY,), **more})
    system = await System.open(settings, AsyncSigner(link), clock=clock)
    try:
        (settings.served_folder / "a.txt").write_text("hello")
        key = key or (await system.create_app("tests")).reveal()
        async with client(system.control, bearer(key)) as control, client(system.pdp, {}) as pdp:
            yield Running(system, clock, control, pdp, key)
    finally:
        await system.close()


def client(app: Any, headers: dict[str, str]) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://127.0.0.1",
        headers=headers,
    )


@dataclass(frozen=True)
class History:
    """A folder's history: an image from before, one from after, and what must not work again."""

    before: Path
    crashed: Path
    revoked: str
    used: str
    key: str


async def past(folder: Path, link: SignerConnection) -> History:
    """Make a folder in which one token was revoked, and one was used up."""
    data = folder / "data"
    async with opened(data, link) as running:
        found = await running.grant()
        revoked, used, key = found["ucan"], await running.write_token(), running.key
    copy(data, folder / "before")
    async with opened(data, link, key=key) as running:
        await store_access.revoke(running.system.store, "default", [link_cid(found["chain"][-1])])
        assert await running.read(revoked) == "revoked"
        assert await running.wrote(used) == "ok"
        assert await running.wrote(used) == "replayed"
        copy(data, folder / "crashed")  # as `kill -9` would leave it
    return History(folder / "before", folder / "crashed", revoked, used, key)


def link_cid(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def rows(data: Path) -> list[str]:
    """The ids of the receipts that are on the disk, read through another connection."""
    connection = sqlite3.connect(f"file:{data / 'nomos.db'}?mode=ro", uri=True)
    try:
        return [json.loads(row[0])["id"] for row in connection.execute("SELECT text FROM records")]
    except sqlite3.DatabaseError:
        return []
    finally:
        connection.close()


# Damage


def deleted(path: Path, before: Path) -> None:
    path.unlink()


def emptied(path: Path, before: Path) -> None:
    path.write_bytes(b"")


def replaced_empty(path: Path, before: Path) -> None:
    path.unlink()
    path.touch(0o600)


def truncated(path: Path, before: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flipped(path: Path, before: Path) -> None:
    """One byte in the middle of the file."""
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(size // 2)
        byte = file.read(1) or b"\0"
        file.seek(size // 2)
        file.write(bytes([byte[0] ^ 0x41]))


def rolled_back(path: Path, before: Path) -> None:
    """The file as it was before; one that was not there then goes."""
    path.unlink()
    if before.exists():
        shutil.copy2(before, path)


def linked(path: Path, before: Path) -> None:
    """The file moved elsewhere, and a link in its place."""
    elsewhere = path.with_name(f"moved-{path.name}")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


Damage = Callable[[Path, Path], None]
DAMAGES: tuple[Damage, ...] = (
    deleted,
    emptied,
    replaced_empty,
    truncated,
    flipped,
    rolled_back,
    linked,
)


async def soon(seconds: float = 0.05) -> None:
    await asyncio.sleep(seconds)
