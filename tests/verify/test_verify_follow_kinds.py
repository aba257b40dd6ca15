"""Following in one process: sync and async verifiers, several loops, start and end."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread
import pytest
from services import TESTS, api_key, cid, register, result_of, tampering_proxy
from standalone import NOTE, READ, Plane, until

from nomos import (
    AsyncVerifier,
    AuthenticationError,
    ConfigurationError,
    Denied,
    Unreachable,
    Verifier,
)
from nomos._io.revocation_feed import RevocationFeed

WITHIN = 5.0
NOWHERE = "http://127.0.0.1:9"
THREAD = "nomos-following"
UNRELATED_DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


@dataclass
class Scene:
    plane: Plane
    did: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"audience": self.did, "api_key": api_key(self.plane)}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    plane = Plane(tmp_path_factory.mktemp("kinds"))
    try:
        yield Scene(plane, register(plane, "notes"))
    finally:
        plane.close()


async def result_of_async(verifier: AsyncVerifier, grant: dict[str, Any]) -> str:
    try:
        await verifier.verify(grant["ucan"], command=READ, resource=NOTE)
    except Denied as denied:
        return denied.code
    return "allowed"


def threads() -> int:
    return sum(each.name == THREAD for each in threading.enumerate())


@pytest.fixture
def _quiet() -> None:
    """What other tests have closed has ended."""
    gc.collect()
    until(lambda: threads() == 0, WITHIN)


# Awaited


@pytest.mark.anyio
async def test_the_async_verifier_follows_the_feed(scene: Scene) -> None:
    grant = await anyio.to_thread.run_sync(scene.plane.grant, scene.did)
    async with AsyncVerifier.from_control_plane(scene.plane.url, **scene.settings) as verifier:
        assert await result_of_async(verifier, grant) == "allowed"
        await anyio.to_thread.run_sync(scene.plane.revoke, cid(grant))
        with anyio.fail_after(WITHIN):
            while await result_of_async(verifier, grant) != "revoked":  # noqa: ASYNC110
                await anyio.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.usefixtures("_quiet")
async def test_the_first_token_starts_the_following(scene: Scene) -> None:
    """Nothing is started before, so one made at import works in a server that forks after it."""
    verifier = AsyncVerifier.from_control_plane(scene.plane.url, **scene.settings)
    assert threads() == 0
    grant = await anyio.to_thread.run_sync(scene.plane.grant, scene.did)
    assert "hop 0" in await verifier.explain(grant["ucan"])
    assert await result_of_async(verifier, grant) == "allowed"
    assert threads() == 1
    await verifier.close()
    await verifier.close()
    with anyio.fail_after(WITHIN):
        while threads() != 0:  # noqa: ASYNC110 (threads ring no bell)
            await anyio.sleep(0.01)
    with pytest.raises(ConfigurationError, match="closed"):
        await verifier.verify(grant["ucan"], command=READ, resource=NOTE)


@pytest.mark.usefixtures("_quiet")
def test_asyncio_and_trio_loops_share_one_verifier(scene: Scene) -> None:
    verifier = AsyncVerifier.from_control_plane(scene.plane.url, **scene.settings)
    grant, answers = scene.plane.grant(scene.did), list[str]()

    async def several() -> None:
        for _ in range(20):
            answers.append(await result_of_async(verifier, grant))

    def loop(backend: str) -> None:
        anyio.run(several, backend=backend)

    running = [
        threading.Thread(target=loop, args=(backend,))
        for backend in ("asyncio", "trio", "asyncio", "trio")
    ]
    for each in running:
        each.start()
    for each in running:
        each.join(30)
    assert answers == ["allowed"] * 80
    assert threads() == 1
    anyio.run(verifier.close)


@pytest.mark.anyio
async def test_waiting_for_the_first_reply_does_not_block_the_loop() -> None:
    verifier = AsyncVerifier.from_control_plane(NOWHERE, audience=UNRELATED_DID)
    longest = 0.0

    async def ticking() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await anyio.sleep(0.01)
            longest = max(longest, time.perf_counter() - began)

    async with anyio.create_task_group() as group:
        group.start_soon(ticking)
        with pytest.raises(Unreachable):
            async with verifier:
                pytest.fail("there is nobody to follow")
        group.cancel_scope.cancel()
    assert longest < 1


@pytest.mark.anyio
async def test_before_the_first_reply_everything_is_refused_with_the_reason(
    scene: Scene,
) -> None:
    """No issuer is trusted yet, which is no fault of the token."""
    grant = await anyio.to_thread.run_sync(scene.plane.grant, scene.did)
    for how in ("refuse", "allow"):
        verifier = AsyncVerifier.from_control_plane(
            NOWHERE, audience=scene.did, on_stale_revocations=how
        )
        with pytest.raises(Denied, match="has sent no usable reply") as refused:
            await verifier.verify(grant["ucan"], command=READ, resource=NOTE)
        assert refused.value.code == "revocations_stale"
        assert NOWHERE not in str(refused.value), "a stranger is not told where we ask"
        assert "revocations_stale" in await verifier.explain(grant["ucan"])
        with pytest.raises(Denied, match="signature"):
            await verifier.verify(grant["ucan"][:-4] + "AAAA", command=READ, resource=NOTE)
        await verifier.close()


@pytest.mark.anyio
async def test_a_wrong_trust_anchor_is_reported(scene: Scene) -> None:
    verifier = AsyncVerifier.from_control_plane(
        scene.plane.url, trust_anchor=UNRELATED_DID, **scene.settings
    )
    grant = await anyio.to_thread.run_sync(scene.plane.grant, scene.did)
    with pytest.raises(Denied, match="follow the pinned issuer"):
        await verifier.verify(grant["ucan"], command=READ, resource=NOTE)
    with pytest.raises(ConfigurationError, match="not among its issuer keys"):
        await verifier.__aenter__()


# The beginning


def test_the_first_reply_includes_all_revocations(scene: Scene) -> None:
    revoked, good = scene.plane.grant(scene.did), scene.plane.grant(scene.did)
    scene.plane.revoke(cid(revoked))
    with Verifier.from_control_plane(scene.plane.url, **scene.settings) as verifier:
        assert result_of(verifier, revoked) == "revoked"
        assert result_of(verifier, good) == "allowed"
        assert "revoked" in verifier.explain(revoked["ucan"])


def test_without_a_valid_api_key_the_feed_is_refused(scene: Scene) -> None:
    for key in (None, "nomos_app_00000000000000000000000000_wrong"):
        began = time.monotonic()
        with pytest.raises(
            AuthenticationError, match=r"API key of any role \(api_key=, or --key-file\)"
        ):
            Verifier.from_control_plane(scene.plane.url, audience=scene.did, api_key=key)
        assert time.monotonic() - began < 2


@pytest.mark.usefixtures("_quiet")
def test_an_unreachable_control_plane_raises_after_three_seconds() -> None:
    began = time.monotonic()
    with pytest.raises(Unreachable, match="cannot be reached"):
        Verifier.from_control_plane(NOWHERE, audience=UNRELATED_DID)
    assert 2 < time.monotonic() - began < 6
    assert threads() == 0


@pytest.mark.parametrize(
    ("url", "more", "setting"),
    [
        ("http://nomos.example.com", {}, "url"),
        ("http://nomos.example.com", {"allow_insecure": ["nomos.example.com"]}, "trust_anchor"),
        ("http://10.0.0.1:8788", {}, "url"),
        ("http://10.0.0.1:8788", {"allow_insecure": ["10.0.0.1"]}, "trust_anchor"),
        ("http://127.0.0.1.example.com", {}, "url"),
        (
            "http://127.0.0.1.example.com",
            {"allow_insecure": ["127.0.0.1.example.com"]},
            "trust_anchor",
        ),
        ("ftp://nomos.example.com", {}, "url"),
        ("https://user:password@nomos.example.com", {}, "url"),
        (NOWHERE, {"trust_anchor": "did:web:example.com"}, "trust_anchor"),
        (NOWHERE, {"trust_anchor": f"{UNRELATED_DID}\n"}, "trust_anchor"),
        (NOWHERE, {"api_key": "two words"}, "api_key"),
        (NOWHERE, {"audience": "me"}, "audience"),
        (NOWHERE, {"max_depth": 99}, "max_depth"),
    ],
)
def test_an_invalid_setting_is_refused_at_once(
    url: str, more: dict[str, Any], setting: str
) -> None:
    """Plain http to another host needs its name, and a pinned issuer: others could answer."""
    began = time.monotonic()
    for kind in (Verifier, AsyncVerifier):
        with pytest.raises(ConfigurationError) as wrong:
            kind.from_control_plane(url, **{"audience": UNRELATED_DID, **more})
        assert wrong.value.setting == setting
        assert "password" not in str(wrong.value).replace("user name, password", "")
    assert time.monotonic() - began < 1


def test_plain_http_is_accepted_with_a_trust_anchor() -> None:
    named: dict[str, Any] = {"trust_anchor": UNRELATED_DID, "allow_insecure": ["10.0.0.1"]}
    for url, more in (
        ("http://10.0.0.1:8788", named),
        ("https://nomos.example.com", {}),
        ("http://localhost:9", {}),
    ):
        verifier = AsyncVerifier.from_control_plane(url, audience=UNRELATED_DID, **more)
        assert repr(verifier._sync) == f"ControlPlaneSync({url})"


def test_the_chain_depth_of_the_control_plane_is_used(scene: Scene) -> None:
    proxy = tampering_proxy(scene.plane)
    proxy.tamper = lambda path, truth: (
        {**truth, "limits": {"chainDepth": 3}} if "well-known" in path else truth
    )
    try:
        with Verifier.from_control_plane(proxy.url, **scene.settings) as verifier:
            assert verifier._trust().max_depth == 3
        with Verifier.from_control_plane(proxy.url, max_depth=5, **scene.settings) as verifier:
            assert verifier._trust().max_depth == 5
    finally:
        proxy.close()


def test_a_failed_thread_is_restarted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not before a second, since each failure could be provoked."""
    good, revoked = scene.plane.grant(scene.did), scene.plane.grant(scene.did)
    with Verifier.from_control_plane(scene.plane.url, **scene.settings) as verifier:
        with monkeypatch.context() as broken:
            broken.setattr(RevocationFeed, "_poll", failing)
            until(lambda: "RuntimeError: broken" in caplog.text, WITHIN)
        assert caplog.text.count("following the revocations failed") == 1
        scene.plane.revoke(cid(revoked))
        until(lambda: result_of(verifier, revoked) == "revoked", WITHIN)
        assert result_of(verifier, good) == "allowed"


async def failing(*_: object) -> bool:
    raise RuntimeError("broken")


# The end


@pytest.mark.usefixtures("_quiet")
def test_a_closed_verifier_leaves_no_thread_and_refuses(scene: Scene) -> None:
    verifier = Verifier.from_control_plane(scene.plane.url, **scene.settings)
    assert threads() == 1
    began = time.monotonic()
    verifier.close()
    verifier.close()
    assert time.monotonic() - began < 1, "it does not wait for the question under way"
    assert threads() == 0
    with pytest.raises(ConfigurationError, match="closed"):
        result_of(verifier, scene.plane.grant(scene.did))


@pytest.mark.usefixtures("_quiet")
def test_a_garbage_collected_verifier_leaves_no_thread(scene: Scene) -> None:
    Verifier.from_control_plane(scene.plane.url, **scene.settings)
    gc.collect()
    until(lambda: threads() == 0, WITHIN)


def test_no_secret_is_shown(scene: Scene) -> None:
    with Verifier.from_control_plane(scene.plane.url, **scene.settings) as verifier:
        shown = f"{verifier!r} {verifier._sync!r} {vars(verifier)}"
        assert api_key(scene.plane) not in shown
        assert api_key(scene.plane).rpartition("_")[2] not in shown


AT_EXIT = """
import sys
from nomos import Unreachable, Verifier, AsyncVerifier
url, did, key, down = sys.argv[1:]
verifier = Verifier.from_control_plane(url, audience=did, api_key=key)
lost = AsyncVerifier.from_control_plane(down, audience=did)
lost._sync.issuers(), lost._sync._running()
print("ready")
"""


def test_a_process_that_ends_without_closing_does_not_hang(scene: Scene) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-c", AT_EXIT),
            *(scene.plane.url, scene.did, api_key(scene.plane), "http://localhost:9"),
        ],
        capture_output=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("NOMOS_")},
        cwd=TESTS,
        timeout=20,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "ready\n")
    assert "Traceback" not in ended.stderr
