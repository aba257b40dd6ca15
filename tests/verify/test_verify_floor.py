"""A control plane that was rolled back while a verifier was not running."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from services import TamperingProxy, api_key, cid, new_did, register, result_of, tampering_proxy
from standalone import NOTE, READ, Plane, until

from nomos import AsyncVerifier, Denied, InvalidResponse, MemoryReplayStore, Verifier
from nomos._io.signer import Signer, shared
from nomos._protocol import Checkpoint, LoadKey, LoadKeyAnswer, SignCheckpoint, Signed
from nomos.audit.chain import Head, chained
from nomos.server.storage.replay import SqlReplayStore


def did_of(seed: str) -> str:
    answer = Signer(shared()).ask(LoadKey(seed=seed))
    assert isinstance(answer, LoadKeyAnswer)
    return answer.key


def forged(seed: str, *dids: str) -> list[dict[str, Any]]:
    """A key log of these keys whose every row is signed with the key of `seed`."""
    signer = Signer(shared())
    own = did_of(seed)
    entries: list[dict[str, Any]] = []
    head = Head()
    for did in dids or (own, new_did()):
        row = chained({"did": did, "at": 1}, "default", head)
        head = row.head
        said = Checkpoint(
            iss=own, log="keys", tenant="default", seq=head.seq, head=head.hash, iat=1
        )
        signed = signer.ask(SignCheckpoint(key=own, payload=said))
        assert isinstance(signed, Signed)
        entries.append({"row": json.loads(row.text), "hash": row.hash, "checkpoint": signed.jwt})
    return entries


@contextmanager
def lying(plane: Plane, keys: list[dict[str, Any]]) -> Iterator[TamperingProxy]:
    """A proxy that sends another key log at first."""
    proxy = tampering_proxy(plane)
    proxy.tamper = lambda path, truth: {**truth, "keys": keys} if "well-known" in path else truth
    try:
        yield proxy
    finally:
        proxy.close()


@dataclass
class Rollback:
    """A control plane that knows no more of a revocation, and a store that has seen it."""

    plane: Plane
    did: str
    revoked: dict[str, Any]
    used: Path

    def settings(self, replay: Any) -> dict[str, Any]:
        return {"audience": self.did, "api_key": api_key(self.plane), "replay": replay}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollback]:
    folder, used = tmp_path_factory.mktemp("floor"), tmp_path_factory.mktemp("used") / "used.db"
    plane = Plane(folder)
    did = register(plane, "notes")
    plane.close()
    shutil.copytree(folder / "data", folder / "backup")
    plane = Plane(folder)
    revoked = plane.grant(did)
    past = Rollback(plane, did, revoked, used)
    with (
        SqlReplayStore(used) as store,
        Verifier.from_control_plane(plane.url, **past.settings(store)) as verifier,
    ):
        assert result_of(verifier, revoked) == "allowed"
        plane.revoke(cid(revoked))
        until(lambda: result_of(verifier, revoked) == "revoked", 5)
    plane.close()
    shutil.rmtree(folder / "data")
    shutil.copytree(folder / "backup", folder / "data")
    past.plane = Plane(folder)
    try:
        yield past
    finally:
        past.plane.close()


def test_a_restarted_verifier_refuses_an_older_feed(past: Rollback) -> None:
    with SqlReplayStore(past.used) as store:
        for _ in range(2):
            with pytest.raises(InvalidResponse, match="rolled back: it ends at row 0, and row 1"):
                Verifier.from_control_plane(
                    past.plane.url, startup_timeout=1, **past.settings(store)
                )


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_restarted_async_verifier_refuses_an_older_feed(past: Rollback, backend: str) -> None:
    async def refused() -> str:
        with SqlReplayStore(past.used) as store:
            verifier = AsyncVerifier.from_control_plane(
                past.plane.url, startup_timeout=1, **past.settings(store)
            )
            try:
                await verifier.verify(past.revoked["ucan"], command=READ, resource=NOTE)
            except Denied as denied:
                return denied.code
            finally:
                await verifier.close()
        return "allowed"

    assert anyio.run(refused, backend=backend) == "revocations_stale"


def test_a_row_before_the_pinned_key_does_not_hide_the_floor(
    past: Rollback, tmp_path: Path
) -> None:
    """What is kept is kept under the pinned key, and not under one that anyone can put first."""
    used = tmp_path / "used.db"
    with SqlReplayStore(past.used) as known, SqlReplayStore(used) as store:
        kept = known.floor(past.plane.issuer)
        store.keep_floor(past.plane.issuer, "keys", kept.keys)
        store.keep_floor(past.plane.issuer, "revocations", kept.revocations)
        theirs = f"{777:064x}"
        settings = past.settings(store) | {"trust_anchor": past.plane.issuer}
        with (
            lying(past.plane, forged(theirs, did_of(theirs), past.plane.issuer)) as proxy,
            pytest.raises(InvalidResponse, match="rolled back: it ends at row 0, and row 1"),
        ):
            Verifier.from_control_plane(proxy.url, startup_timeout=1, **settings)


def test_a_key_log_other_than_the_known_one_is_refused_at_start(tmp_path: Path) -> None:
    """With a replaced key that was stolen one can make another log; then comes the right one."""
    plane = Plane(tmp_path)
    try:
        did = register(plane, "notes")
        pinned = plane.issuer
        [stolen] = [each.read_text().strip() for each in (tmp_path / "data/keys").glob("issuer-*")]
        assert plane.operator.post("/v1/keys/rotate", json={}).status_code == 200
        with SqlReplayStore(tmp_path / "used.db") as store:
            settings: dict[str, Any] = {"audience": did, "replay": store, "trust_anchor": pinned}
            settings["api_key"] = api_key(plane)
            with Verifier.from_control_plane(plane.url, **settings):
                pass
            assert store.floor(pinned).keys.seq == 2
            with (
                lying(plane, forged(stolen)) as proxy,
                Verifier.from_control_plane(proxy.url, **settings) as verifier,
            ):
                until(lambda: result_of(verifier, plane.grant(did)) == "allowed", 5)
    finally:
        plane.close()


def test_without_a_persistent_store_a_restart_accepts_an_older_feed(past: Rollback) -> None:
    settings = past.settings(MemoryReplayStore())
    with Verifier.from_control_plane(past.plane.url, **settings) as verifier:
        assert result_of(verifier, past.revoked) == "allowed"


def test_a_verifier_whose_store_fails_refuses_everything(past: Rollback, tmp_path: Path) -> None:
    path = tmp_path / "used.db"
    path.touch()
    with SqlReplayStore(path) as store:
        verifier = AsyncVerifier.from_control_plane(
            past.plane.url, startup_timeout=2, **past.settings(store)
        )

        async def sentence() -> str:
            with pytest.raises(Denied) as denied:
                await verifier.verify(past.revoked["ucan"], command=READ, resource=NOTE)
            await verifier.close()
            return str(denied.value)

        said = anyio.run(sentence)
    assert "the stored position in their log cannot be read: the file of used tokens" in said
