"""The routes of issuer keys: the public log, and who may rotate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nomos._core.trust_anchor import RETIRING_SECONDS
from nomos._io.checkpoints import checking
from nomos._io.signer import Signer, SignerConnection
from nomos._protocol import Answer, Refused, Request, SignCheckpoint
from nomos.audit.keys import trusted
from nomos.server.background.notifier import Notifier
from nomos.server.domain.accounts import Role
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

    from nomos._io.signer import AsyncSigner

pytestmark = pytest.mark.anyio

ROTATE = "/v1/keys/rotate"


async def _rotate(plane: Plane, **body: Any) -> Any:
    operator = await plane.another("operator")
    reply = await plane.client.post(ROTATE, json=body, headers=operator)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def _known(plane: Plane, path: str) -> Any:
    reply = await plane.client.get(path, headers={"authorization": ""})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_the_key_log_is_public_and_verifiable(plane: Plane, link: SignerConnection) -> None:
    first = plane.system.issuer_did
    before = await _known(plane, "/v1/keys")
    assert [key["did"] for key in before["keys"]] == [first]
    for _ in range(2):
        await _rotate(plane)
    shown = await _known(plane, "/v1/keys")
    assert (shown["tenant"], shown["keys"][:1][0]["row"]) == (DEFAULT, before["keys"][0]["row"])
    found = trusted(shown["keys"], DEFAULT, first, checking(Signer(link)))
    assert found.trusted == tuple(key["did"] for key in shown["keys"])
    assert found.trusted[-1] == plane.system.issuer_did
    assert set(shown["keys"][0]) == {"did", "state", "until", "row", "hash", "checkpoint"}
    assert set(shown["keys"][2]) == {"did", "state", "row", "hash", "checkpoint"}
    assert shown["serverTime"] == "2027-01-15T08:00:00.000Z"


async def test_keys_are_active_retiring_or_revoked(plane: Plane) -> None:
    old = plane.system.issuer_did
    rotated = await _rotate(plane)
    new = plane.system.issuer_did
    until = "2027-01-15T09:01:00.000Z"
    assert RETIRING_SECONDS == 3660
    assert [(key["did"], key["state"], key.get("until")) for key in rotated["keys"]] == [
        (old, "retiring", until),
        (new, "active", None),
    ]
    known = await _known(plane, "/.well-known/nomos")
    assert known["issuers"] == [
        {"did": new, "state": "active"},
        {"did": old, "state": "retiring", "until": until},
    ]
    assert known["keys"] == rotated["keys"]


async def test_the_old_key_is_revoked_on_request(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(Notifier, "notify", lambda _, topic: rung.append(topic))
    old = plane.system.issuer_did
    rotated = await _rotate(plane, revokeOld=True)
    assert [key["state"] for key in rotated["keys"]] == ["revoked", "active"]
    known = await _known(plane, "/.well-known/nomos")
    assert known["issuers"][1] == {"did": old, "state": "revoked"}
    assert f"revocations:{DEFAULT}" in rung
    headers = await plane.another("operator")
    feed = (await plane.client.get("/v1/revocations", headers=headers)).json()
    assert [(each["row"]["id"], each["row"]["kind"]) for each in feed["entries"]] == [
        (old, "issuer")
    ]
    assert feed["issuer"] == plane.system.issuer_did


async def test_a_retiring_key_can_be_revoked(plane: Plane) -> None:
    old = plane.system.issuer_did
    headers = await plane.another("operator")
    refused = await plane.client.post("/v1/revocations", json={"id": old}, headers=headers)
    assert refused.status_code == 400
    assert "nomos keys rotate --revoke-old" in refused.json()["error"]
    await _rotate(plane)
    reply = await plane.client.post("/v1/revocations", json={"id": old}, headers=headers)
    assert (reply.status_code, reply.json()["kind"]) == (200, "issuer")
    await plane.system.issuers.refresh()
    assert old not in plane.system.issuers.trusted
    known = await _known(plane, "/v1/keys")
    assert [key["state"] for key in known["keys"]] == ["revoked", "active"]


@pytest.mark.parametrize(("role", "status"), [("agent", 403), ("auditor", 403), (None, 401)])
async def test_only_an_operator_may_rotate(standing: Plane, role: Role | None, status: int) -> None:
    before = standing.system.issuer_did
    headers = {"authorization": ""} if role is None else await standing.another(role)
    reply = await standing.client.post(ROTATE, json={}, headers=headers)
    assert reply.status_code == status
    assert standing.system.issuer_did == before


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"revokeOld":"yes"}', b'{"revokeOld":null}', b'{"revoke_old":true}']
)
async def test_an_invalid_request_rotates_nothing(standing: Plane, body: bytes) -> None:
    before = standing.system.issuer_did
    headers = await standing.another("operator")
    reply = await standing.client.post(ROTATE, content=body, headers=headers)
    assert (reply.status_code, reply.json()["error_code"]) == (400, "invalid_request")
    assert standing.system.issuer_did == before


async def test_grants_before_and_after_a_rotation_are_valid(plane: Plane) -> None:
    old = plane.system.issuer_did
    before = (await plane.ask()).json()
    await _rotate(plane)
    after = (await plane.ask()).json()
    said = [plane.payload(grant["chain"][0])["iss"] for grant in (before, after)]
    assert said == [old, plane.system.issuer_did]
    assert said[0] != said[1]
    for grant, issuer in zip((before, after), said, strict=True):
        assert plane.payload(grant["ucan"])["sub"] == issuer


async def test_a_failed_signature_keeps_the_old_key(
    plane: Plane, signer: AsyncSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = signer.ask

    async def fail_to_sign(request: Request) -> Answer | Refused:
        if isinstance(request, SignCheckpoint):
            return Refused(code="unknown_key", message="gone")
        return await ask(request)

    old = plane.system.issuer_did
    headers = await plane.another("operator")
    with monkeypatch.context() as patch:
        patch.setattr(signer, "ask", fail_to_sign)
        reply = await plane.client.post(ROTATE, json={}, headers=headers)
    assert (reply.status_code, reply.json()["error_code"]) == (503, "unavailable")
    assert plane.system.issuer_did == old
    await _rotate(plane)
    assert plane.system.issuer_did != old


async def test_a_full_key_log_is_reported(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nomos.server.signing.issuers.MAX_KEYS", 1)
    headers = await plane.another("operator")
    reply = await plane.client.post(ROTATE, json={}, headers=headers)
    assert reply.status_code == 400
    assert "the maximum that verifiers read" in reply.json()["error"]


async def test_a_replayed_answer_keeps_the_key_that_signed_it(
    plane: Plane,
) -> None:
    """And is an answer no more when that key is revoked."""
    key = {"idempotency-key": "once"}
    first = (await plane.ask(key)).json()
    await _rotate(plane)
    again = (await plane.ask(key)).json()
    assert (again["ucan"], again["chain"]) == (first["ucan"], first["chain"])
    old = plane.payload(first["chain"][0])["iss"]
    headers = await plane.another("operator")
    done = await plane.client.post("/v1/revocations", json={"id": old}, headers=headers)
    assert done.status_code == 200
    over = (await plane.ask(key)).json()
    assert (over["decision"], over["reason"]) == ("deny", "revoked")


async def test_a_restart_keeps_everything(
    open_plane: OpenPlane, tmp_path: Any, signer: Any
) -> None:
    async with open_plane(tmp_path / "data", signer) as plane:
        await _rotate(plane, revokeOld=True)
        before = await _known(plane, "/v1/keys")
    async with open_plane(tmp_path / "data", signer) as plane:
        assert await _known(plane, "/v1/keys") == before
