"""A control plane that was rolled back while a verifier was not running."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from services import api_key, cid, register, told
from standalone import NOTE, READ, Plane, until

from nomos import AsyncVerifier, Denied, InvalidResponse, MemoryReplayStore, Verifier
from nomos.server.storage.replay import SqlReplayStore


@dataclass
class Past:
    """A control plane that knows no more of a revocation, and who has heard of it."""

    plane: Plane
    did: str
    revoked: dict[str, Any]
    used: Path

    def settings(self, replay: Any) -> dict[str, Any]:
        return {"audience": self.did, "api_key": api_key(self.plane), "replay": replay}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    folder, used = tmp_path_factory.mktemp("floor"), tmp_path_factory.mktemp("used") / "used.db"
    plane = Plane(folder)
    did = register(plane, "notes")
    plane.close()
    shutil.copytree(folder / "data", folder / "backup")
    plane = Plane(folder)
    revoked = plane.grant(did)
    past = Past(plane, did, revoked, used)
    with (
        SqlReplayStore(used) as store,
        Verifier.from_control_plane(plane.url, **past.settings(store)) as verifier,
    ):
        assert told(verifier, revoked) == "allowed"
        plane.revoke(cid(revoked))
        until(lambda: told(verifier, revoked) == "revoked", 5)
    plane.close()
    shutil.rmtree(folder / "data")
    shutil.copytree(folder / "backup", folder / "data")
    past.plane = Plane(folder)
    try:
        yield past
    finally:
        past.plane.close()


def test_a_restarted_verifier_refuses_it(past: Past) -> None:
    with SqlReplayStore(past.used) as store:
        for _ in range(2):
            with pytest.raises(InvalidResponse, match="rolled back: it ends at row 0, and row 1"):
                Verifier.from_control_plane(past.plane.url, wait=1, **past.settings(store))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_that_is_awaited_refuses_it_too(past: Past, backend: str) -> None:
    async def refused() -> str:
        with SqlReplayStore(past.used) as store:
            verifier = AsyncVerifier.from_control_plane(
                past.plane.url, wait=1, **past.settings(store)
            )
            try:
                await verifier.verify(past.revoked["ucan"], command=READ, resource=NOTE)
            except Denied as denied:
                return denied.code
            finally:
                await verifier.close()
        return "allowed"

    assert anyio.run(refused, backend=backend) == "revocations_stale"


def test_without_a_store_that_keeps_it_a_restarted_one_does_not_know(past: Past) -> None:
    settings = past.settings(MemoryReplayStore())
    with Verifier.from_control_plane(past.plane.url, **settings) as verifier:
        assert told(verifier, past.revoked) == "allowed"


def test_one_whose_store_fails_lets_nothing_in(past: Past, tmp_path: Path) -> None:
    path = tmp_path / "used.db"
    path.touch()
    with SqlReplayStore(path) as store:
        verifier = AsyncVerifier.from_control_plane(past.plane.url, wait=2, **past.settings(store))

        async def sentence() -> str:
            with pytest.raises(Denied) as denied:
                await verifier.verify(past.revoked["ucan"], command=READ, resource=NOTE)
            await verifier.close()
            return str(denied.value)

        said = anyio.run(sentence)
    assert "how far they were read before cannot be looked up: the file of used tokens" in said
