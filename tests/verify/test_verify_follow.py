"""A service and a control plane in processes of their own, on a connection that can be cut."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from services import Service, api_key, cid, register
from standalone import NOTE, READ, Plane, Process, Wire, until

from nomos import Denied, Verifier

WITHIN = 5.0
STALE_AFTER = 5


@dataclass
class Scene:
    plane: Plane
    wire: Wire
    service: Service
    did: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    plane = Plane(tmp_path_factory.mktemp("follow"))
    wire = Wire(int(plane.url.rpartition(":")[2]))
    try:
        did = register(plane, "notes")
        service = Service(f"http://127.0.0.1:{wire.port}", did, api_key(plane))
        try:
            yield Scene(plane, wire, service, did)
        finally:
            wire.mend()
            service.close()
    finally:
        wire.close()
        plane.close()


def test_a_revoked_grant_is_refused_within_five_seconds(scene: Scene) -> None:
    revoked, other = scene.plane.grant(scene.did), scene.plane.grant(scene.did)
    assert scene.service.result(revoked) == "allowed"
    scene.plane.revoke(cid(revoked))
    until(lambda: scene.service.result(revoked) == "revoked", WITHIN)
    assert scene.service.result(other) == "allowed"


def test_a_token_for_another_service_is_refused(scene: Scene) -> None:
    assert scene.service.result(scene.plane.grant()) == "audience_mismatch"


@pytest.mark.parametrize(("ahead", "code"), [(7200, "expired"), (-7200, "not_yet_valid")])
def test_a_wrong_clock_is_named_with_both_times(scene: Scene, ahead: int, code: str) -> None:
    with Verifier.from_control_plane(
        scene.plane.url,
        audience=scene.did,
        api_key=api_key(scene.plane),
        clock=lambda: time.time() + ahead,
    ) as verifier:
        with pytest.raises(Denied) as denied:
            verifier.verify(scene.plane.grant(scene.did)["ucan"], command=READ, resource=NOTE)
        assert denied.value.code == code
        way = "ahead of" if ahead > 0 else "behind"
        assert re.search(
            rf"it (ended|begins) at 20\S+Z, and it is 20\S+Z by this clock, which is 7[12]\d\d s "
            rf"{way} the control plane's",
            str(denied.value),
        )


def test_without_the_feed_everything_is_refused_until_it_is_back(scene: Scene) -> None:
    good, revoked = scene.plane.grant(scene.did), scene.plane.grant(scene.did)
    lax = Service(
        f"http://127.0.0.1:{scene.wire.port}",
        scene.did,
        api_key(scene.plane),
        on_stale_revocations="allow",
    )
    try:
        assert scene.service.result(good) == lax.result(good) == "allowed"
        scene.wire.cut()
        took = until(lambda: scene.service.result(good) == "revocations_stale", STALE_AFTER + 1)
        assert took > 1, "it was refused although the view was young"
        scene.plane.revoke(cid(revoked))
        said = scene.service.said(revoked)
        assert "are known as of" in said
        assert " since 2" in said
        assert lax.result(good) == lax.result(revoked) == "allowed"
        scene.wire.mend()
        until(lambda: scene.service.result(good) == "allowed", WITHIN)
        assert scene.service.result(revoked) == "revoked"
        until(lambda: lax.result(revoked) == "revoked", WITHIN)
    finally:
        scene.wire.mend()
        lax.close()


def test_a_forked_process_follows_the_feed_itself(scene: Scene) -> None:
    """And its parent as before; neither disturbs the other."""
    first, second = scene.plane.grant(scene.did), scene.plane.grant(scene.did)
    scene.service.send(f"fork {second['ucan']}")
    assert scene.service.next_result() == "forked"
    assert scene.service.result(first) == scene.service.result(second) == "allowed"
    scene.plane.revoke(cid(first))
    until(lambda: scene.service.result(first) == "revoked", WITHIN)
    time.sleep(STALE_AFTER + 1)  # long enough for what it inherited to have grown old
    assert scene.service.result(second) == "allowed"
    scene.service.send("end")
    assert scene.service.next_result() == "allowed"
    assert scene.service.result(first) == "revoked"


def test_following_continues_after_the_control_plane_is_killed_and_restarted(
    scene: Scene, tmp_path: Path
) -> None:
    (tmp_path / "plane").mkdir()
    plane = Plane(tmp_path / "plane")
    try:
        did = register(plane, "notes")
        service = Service(plane.url, did, api_key(plane))
        try:
            good, revoked = plane.grant(did), plane.grant(did)
            plane.revoke(cid(revoked))
            until(lambda: service.result(revoked) == "revoked", WITHIN)
            kill(plane.process)
            until(lambda: service.result(good) == "revocations_stale", STALE_AFTER + 1)
            assert service.result(revoked) == "revoked", "what is known stays known"
            plane.process = again(plane)
            until(lambda: service.result(good) == "allowed", 2 * WITHIN)
            assert service.result(revoked) == "revoked"
        finally:
            service.close()
    finally:
        plane.close()


def kill(process: Process) -> None:
    process._process.kill()
    process._process.wait()
    process._reader.join()
    assert process._process.stdout is not None
    process._process.stdout.close()


def again(plane: Plane) -> Process:
    """Start the control plane of a folder again, at the port that it had."""
    return Process(
        *("dev", "--data", str(plane.folder / "data")),
        *("--policies", str(plane.folder / "policy.cedar")),
        *("--control-port", plane.url.rpartition(":")[2], "--pdp-port", "0"),
        until="files served",
    )


def test_a_rotated_key_is_followed_and_a_revoked_one_is_not(scene: Scene) -> None:
    old, first = scene.plane.grant(scene.did), scene.plane.issuer
    assert scene.plane.operator.post("/v1/keys/rotate", json={}).status_code == 200
    new = scene.plane.grant(scene.did)
    until(lambda: scene.service.result(new) == "allowed", WITHIN)
    assert scene.service.result(old) == "allowed"
    begun_later = Service(scene.plane.url, scene.did, api_key(scene.plane))
    pinned = Service(scene.plane.url, scene.did, api_key(scene.plane), trust_anchor=first)
    try:
        for service in (begun_later, pinned):
            assert service.result(old) == service.result(new) == "allowed"
        scene.plane.revoke(first)
        for service in (scene.service, begun_later, pinned):
            until(lambda service=service: service.result(old) == "revoked", WITHIN)
            assert service.result(new) == "allowed"
    finally:
        begun_later.close()
        pinned.close()
