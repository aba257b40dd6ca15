"""A proxy changes replies between a service and its control plane."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from services import Tamper, TamperingProxy, api_key, cid, register, result_of, tampering_proxy
from standalone import NOTE, READ, Plane, client, until

from nomos import ConfigurationError, Denied, InvalidResponse, Verifier

WITHIN = 5.0
STALE_AFTER = 5


@dataclass
class Scene:
    plane: Plane
    other: Plane
    did: str


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A control plane, and another with keys of its own and a tenant of the same name."""
    plane = Plane(tmp_path_factory.mktemp("honest"))
    try:
        other = Plane(tmp_path_factory.mktemp("other"))
        try:
            yield Scene(plane, other, register(plane, "notes"))
        finally:
            other.close()
    finally:
        plane.close()


def following(scene: Scene, url: str, **settings: Any) -> Verifier:
    return Verifier.from_control_plane(
        url, audience=scene.did, api_key=api_key(scene.plane), **settings
    )


def feed_alone(tamper: Tamper) -> Tamper:
    """Tamper about revocations, and say the truth about keys."""
    return lambda path, truth: tamper(path, truth) if "/v1/revocations" in path else truth


def forged(_: str, truth: dict[str, Any]) -> dict[str, Any]:
    head, body, signature = truth["checkpoint"].split(".")
    other = ("A" if signature[5] != "A" else "B").join((signature[:5], signature[6:]))
    return {**truth, "checkpoint": f"{head}.{body}.{other}"}


def cut(_: str, truth: dict[str, Any]) -> dict[str, Any]:
    return {**truth, "entries": truth["entries"][:-1]}


def another_tenant(_: str, truth: dict[str, Any]) -> dict[str, Any]:
    return {**truth, "tenant": "another"}


def rolled_back(proxy: TamperingProxy) -> Tamper:
    """The newest answer of before, again and again."""
    old = [truth for path, truth in proxy.truths if "/v1/revocations" in path][-1]
    return lambda *_: old


def another_issuers(http: httpx.Client) -> Tamper:
    """What another control plane says, feed and keys, signed as it should be."""
    return lambda path, _: dict(http.get(path).json())


def test_every_tampered_reply_is_refused(scene: Scene) -> None:
    """Each of them leaves the view as it was, so it grows old and lets nothing through."""
    plane = scene.plane
    revoked, good = plane.grant(scene.did), plane.grant(scene.did)
    sentences = {
        "forged": "its checkpoint is not the issuer's",
        "cut": "is missing: the log ends at row",
        "tenant": "it is another tenant's",
        "rolled back": "its checkpoint was not made for this request",
        "other": "its checkpoint is not the issuer's",
    }
    proxies = {name: tampering_proxy(plane) for name in sentences}
    verifiers = {name: following(scene, proxy.url) for name, proxy in proxies.items()}
    try:
        for verifier in verifiers.values():
            assert result_of(verifier, revoked) == result_of(verifier, good) == "allowed"
        with client(scene.other.url, api_key(scene.other)) as http:
            tamperings: dict[str, Tamper] = {
                "forged": feed_alone(forged),
                "cut": feed_alone(cut),
                "tenant": feed_alone(another_tenant),
                "rolled back": feed_alone(rolled_back(proxies["rolled back"])),
                "other": another_issuers(http),
            }
            for name, tamper in tamperings.items():
                proxies[name].tamper = tamper
            plane.revoke(cid(revoked))
            time.sleep(STALE_AFTER + 2)
            for name, verifier in verifiers.items():
                assert (
                    result_of(verifier, revoked) == result_of(verifier, good) == "revocations_stale"
                ), name
                with pytest.raises(Denied, match=f"is refused .*{sentences[name]}"):
                    verifier.verify(good["ucan"], command=READ, resource=NOTE)
            for proxy in proxies.values():
                proxy.tamper = None
            for verifier in verifiers.values():
                until(lambda verifier=verifier: result_of(verifier, good) == "allowed", WITHIN)
                assert result_of(verifier, revoked) == "revoked"
    finally:
        for verifier in verifiers.values():
            verifier.close()
        for proxy in proxies.values():
            proxy.close()


def test_another_control_plane_is_refused_by_the_trust_anchor(scene: Scene) -> None:
    with pytest.raises(ConfigurationError, match="is not among its issuer keys") as refused:
        following(scene, scene.other.url, trust_anchor=scene.plane.issuer)
    assert refused.value.setting == "trust_anchor"
    with following(scene, scene.plane.url, trust_anchor=scene.plane.issuer) as verifier:
        assert result_of(verifier, scene.plane.grant(scene.did)) == "allowed"


def test_a_key_without_the_pinned_keys_signature_is_no_successor(scene: Scene) -> None:
    """A log in which the pinned key stands, unsigned by those before it, proves nothing."""

    def claimed(_: str, truth: dict[str, Any]) -> dict[str, Any]:
        keys = truth["keys"]
        row = {**keys[0]["row"], "did": scene.other.issuer, "seq": len(keys) + 1}
        return {**truth, "keys": [*keys, {**keys[0], "row": row}]}

    proxy = tampering_proxy(scene.plane)
    try:
        proxy.tamper = claimed
        with pytest.raises(ConfigurationError, match="was changed: it does not match its hash"):
            following(scene, proxy.url, trust_anchor=scene.plane.issuer)
        with pytest.raises(InvalidResponse, match="was changed: it does not match its hash"):
            following(scene, proxy.url)
    finally:
        proxy.close()


def test_a_feed_forged_from_its_start_is_refused(scene: Scene) -> None:
    proxy = tampering_proxy(scene.plane)
    try:
        proxy.tamper = feed_alone(forged)
        with pytest.raises(InvalidResponse, match="its checkpoint is not the issuer's"):
            following(scene, proxy.url)
    finally:
        proxy.close()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"keys": []}, "it lists no issuer key"),
        ({"keys": [7]}, "its keys are not a key log"),
        ({"keys": None}, "it lists no issuer key"),
        (["no", "object"], "it is not a JSON object"),
    ],
)
def test_a_malformed_well_known_document_is_refused(scene: Scene, said: Any, sentence: str) -> None:
    proxy = tampering_proxy(scene.plane)
    try:
        proxy.tamper = lambda *_: said
        with pytest.raises(InvalidResponse, match=sentence):
            following(scene, proxy.url)
    finally:
        proxy.close()
