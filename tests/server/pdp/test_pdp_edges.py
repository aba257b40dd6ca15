"""Failures of the binary, the store and the connection during a call."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
import store_access

from nomos._protocol import Answer, Refused, Request, Verified, Verify
from nomos.errors import SignerCrashed
from nomos.server.pdp import filesystem
from nomos.server.pdp.context import PdpContext, PdpLimits
from nomos.server.pdp.gate import Gate
from nomos.server.pdp.request_parsing import PdpRequest
from nomos.server.pdp.routes import create_pdp
from nomos.server.pdp.statuses import PdpError
from nomos.server.pdp.tokens import signed_args

if TYPE_CHECKING:
    from server.pdp.conftest import World

READ = "/filesystem/file/read"
WRITE = "/filesystem/file/write"
FILE = {"provider": "filesystem", "path": "f"}


class Altered:
    """The real signer, whose answers are replaced where `change` returns something."""

    def __init__(self, ports: PdpContext, change: Any) -> None:
        self._signer = ports.signer
        self._change = change

    async def ask(self, request: Request) -> Answer | Refused:
        answer = await self._signer.ask(request)
        changed: Answer | Refused = self._change(answer) or answer
        return changed


class Dead:
    async def ask(self, request: Request) -> Answer | Refused:
        raise SignerCrashed("the signing binary ended twice before it answered")


async def get(ports: PdpContext, path: str, token: str = "") -> httpx.Response:
    """One request to a PDP of its own."""
    transport = httpx.ASGITransport(create_pdp(ports))
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://pdp") as client:
        return await client.get(path, headers=headers)


def ask(world: World, **changed: Any) -> httpx.Response:
    """Read a file from a PDP that differs from the usual one in `changed`."""
    (world.folder / "f").write_text("content")
    said = world.run(
        get(replace(world.ports, **changed), f"{READ}?path=f", world.token(READ, FILE))
    )
    assert said.headers["x-request-id"]
    return said


def test_a_pdp_with_its_own_ports_answers(world: World) -> None:
    assert ask(world).json()["content"] == "content"


def test_without_the_binary_every_call_is_unavailable(world: World) -> None:
    said = ask(world, signer=Dead())
    assert (said.status_code, said.json()["error_code"]) == (503, "unavailable")
    assert world.receipts(said) == [], "nothing was decided, so nothing may look like an allow"
    ready = world.run(get(replace(world.ports, signer=Dead()), "/readyz"))
    assert (ready.status_code, ready.json()["error"]) == (503, "the signing binary does not answer")


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: (
            Refused(code="internal", message="bug") if isinstance(answer, Verified) else None
        ),
        lambda answer: Answer(id=1) if isinstance(answer, Verified) else None,
        lambda answer: changed(answer, cid="ab" * 32),
        lambda answer: changed(answer, agent=getattr(answer, "root", "")),
        lambda answer: changed(answer, lineage=["ab" * 32]),
        lambda answer: changed(
            answer, root="did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJH"
        ),
        lambda answer: changed(answer, cids=[]),
        lambda answer: changed(answer, nonce=None),
    ],
    ids=[
        "refused",
        "no verdict",
        "another token",
        "another agent",
        "another lineage",
        "another root",
        "another chain",
        "no nonce",
    ],
)
def test_an_answer_of_the_binary_about_another_token_is_refused(world: World, change: Any) -> None:
    said = ask(world, signer=Altered(world.ports, change))
    assert (said.status_code, said.json()["error_code"]) == (503, "unavailable")
    assert "content" not in said.text


def changed(answer: Answer | Refused, **fields: Any) -> Verified | None:
    return answer.model_copy(update=fields) if isinstance(answer, Verified) else None


def test_a_pdp_whose_binary_refuses_is_not_ready(world: World) -> None:
    signer = Altered(world.ports, lambda _: Refused(code="protocol", message="other version"))
    ready = world.run(get(replace(world.ports, signer=signer), "/readyz"))
    assert (ready.status_code, ready.json()["error"]) == (
        503,
        "the signing binary rejected the health check",
    )


def test_an_unexpected_exception_is_a_500_without_details(world: World) -> None:
    def broken() -> float:
        raise RuntimeError("secret detail")

    said = ask(world, clock=broken)
    assert (said.status_code, said.json()["error_code"]) == (500, "internal")
    assert "secret detail" not in said.text


def test_a_root_of_no_tenant_is_not_recorded_for_any_tenant(world: World) -> None:
    tenants = {**world.ports.trusted_issuers, world.dids["other_issuer"]: "other"}
    ports = replace(world.ports, trusted_issuers=tenants)
    before = len(world.run(store_access.receipts(world.store.store, "acme", 10_000)))
    root = world.grant(READ, FILE, by="stranger")
    token = world.invoke(READ, FILE, {}, [root.jwt], root="stranger")
    said = world.run(get(ports, f"{READ}?path=f", token))
    assert said.json()["error_code"] == "untrusted_issuer"
    assert len(world.run(store_access.receipts(world.store.store, "acme", 10_000))) == before
    assert world.run(store_access.receipts(world.store.store, "other", 10)) == ()


def test_each_tenants_receipt_is_its_own(world: World) -> None:
    (world.folder / "f").touch()
    tenants = {**world.ports.trusted_issuers, world.dids["stranger"]: "third"}
    root = world.grant(READ, FILE, by="stranger", to="child")
    token = world.invoke(READ, FILE, {}, [root.jwt], by="child", root="stranger")
    said = world.run(get(replace(world.ports, trusted_issuers=tenants), f"{READ}?path=f", token))
    assert said.status_code == 200
    (row,) = world.run(store_access.receipts(world.store.store, "third", 10))
    assert row.request_id == said.headers["x-request-id"]


# Unexpected errors


def fail_with(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [OSError(5, "secret detail"), RuntimeError("secret detail")])
def test_a_read_that_fails_unexpectedly_is_recorded_as_its_outcome(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (world.folder / "f").write_text("content")
    monkeypatch.setattr(filesystem, "_as_text", fail_with(error))
    said = world.read("f")
    assert (said.status_code, said.json()["error_code"]) == (500, "internal")
    assert "secret detail" not in said.text
    (row,) = world.receipts(said)
    assert (row.decision, row.reason, row.status) == ("allow", None, 500)


@pytest.mark.parametrize("error", [OSError(5, "secret detail"), RuntimeError("secret detail")])
def test_a_write_that_fails_unexpectedly_is_recorded_as_its_outcome(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(filesystem, "_facts", fail_with(error))
    said = world.write("f", "content")
    assert (said.status_code, said.json()["error_code"]) == (500, "internal")
    assert "check the upstream before you retry" in said.json()["error"]
    assert "secret detail" not in said.text
    intent, outcome = world.receipts(said)
    assert (intent.status, outcome.decision, outcome.status) == (None, "allow", 500)
    assert outcome.id == f"{intent.id}_end"


def test_a_call_that_cannot_be_made_ready_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "_content", fail_with(RuntimeError("secret detail")))
    said = world.write("f", "content")
    assert (said.status_code, said.json()["error_code"]) == (500, "internal")
    (row,) = world.receipts(said)
    assert (row.decision, row.status) == ("allow", 500)


@pytest.mark.parametrize(
    ("path", "status"), [("file/f", 404), ("x" * 300, 400), (f"{'x' * 300}/f", 400)]
)
def test_a_refusal_of_the_file_system_has_a_receipt(world: World, path: str, status: int) -> None:
    (world.folder / "file").touch()
    for said in (world.read(path), world.write(path, "content")):
        assert said.status_code == status
        (row,) = world.receipts(said)
        assert (row.decision, row.status) == ("allow", status)


def test_a_write_to_a_missing_folder_does_not_use_its_token(world: World) -> None:
    args = {"content": {"sha256": hashlib.sha256(b"x").hexdigest()}}
    path = {"provider": "filesystem", "path": "late/f"}
    token = world.token(WRITE, path, args)
    body = {"path": "late/f", "content": "x"}
    said = world.call("PUT", WRITE, token, json=body)
    assert said.status_code == 404
    assert "there is no folder 'late'" in said.json()["error"]
    (world.folder / "late").mkdir()
    assert world.call("PUT", WRITE, token, json=body).status_code == 200


# Bodies


class Body:
    """A body that counts how often it is read, and how much of it was allowed."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.caps: list[int] = []

    async def __call__(self, cap: int) -> bytes:
        self.caps.append(cap)
        return self.content


def refused(world: World, method: str, command: str, token: str, body: Body) -> PdpError:
    async def serve() -> PdpError:
        asked = PdpRequest(
            method, command, b"", (f"Bearer {token}",), "application/json", body, "body-test"
        )
        with pytest.raises(PdpError) as raised:
            await Gate(world.ports).serve(asked)
        return raised.value

    return world.run(serve())


def untrusted_token(world: World, command: str) -> str:
    root = world.grant(command, FILE, by="stranger")
    return world.invoke(command, FILE, {}, [root.jwt], root="stranger")


def test_no_body_is_read_for_an_invalid_token(world: World) -> None:
    body = Body(json.dumps({"path": "f", "content": "x" * 1_000_000}).encode())
    for token, reason in (
        (untrusted_token(world, WRITE), "untrusted_issuer"),
        (world.token(WRITE, FILE, ttl=-1, nbf=0), "expired"),
        (world.token(WRITE, FILE)[:-8] + "A" * 8, "malformed_ucan"),
    ):
        said = refused(world, "PUT", WRITE, token, body)
        assert (said.status, said.reason) in {(401, reason), (401, "bad_signature")}
    assert body.caps == []
    assert not (world.folder / "f").exists()


def test_a_body_is_read_after_the_token_is_verified_and_then_compared(world: World) -> None:
    body = Body(b'{"path":"other","content":"x"}')
    said = refused(world, "PUT", WRITE, world.token(WRITE, FILE), body)
    assert (said.status, said.reason) == (403, "resource_mismatch")
    assert body.caps == [world.ports.limits.request_body(holds_file=True)]


def test_a_read_is_verified_once_and_its_body_refused(world: World) -> None:
    asked: list[Request] = []

    class Counting:
        async def ask(self, request: Request) -> Answer | Refused:
            asked.append(request)
            return await world.ports.signer.ask(request)

    assert ask(world, signer=Counting()).status_code == 200
    assert [type(request) for request in asked] == [Verify]
    said = world.call("GET", f"{READ}?path=f", world.token(READ, FILE), content=b"x" * 300_000)
    assert (said.status_code, said.json()["fields"]) == (400, ["body"])
    assert "has no body" in said.json()["error"]


def write_scope(token: str) -> dict[str, Any]:
    headers = [
        (b"authorization", f"Bearer {token}".encode()),
        (b"content-type", b"application/json"),
    ]
    return {
        "type": "http",
        "method": "PUT",
        "path": "/filesystem/file/write",
        "raw_path": b"/filesystem/file/write",
        "query_string": b"",
        "headers": headers,
    }


async def deliver(ports: PdpContext, token: str, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Send a write whose body arrives as `messages` and then no further."""
    sent: list[dict[str, Any]] = []
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        for message in waiting:
            return message
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    await create_pdp(ports)(write_scope(token), receive, send)
    return sent


def test_an_endless_body_times_out(world: World) -> None:
    ports = replace(world.ports, limits=PdpLimits(body_seconds=0.01))
    token = world.token("/filesystem/file/write", FILE)
    part = {"type": "http.request", "body": b"{", "more_body": True}
    start, body = world.run(deliver(ports, token, part))
    assert start["status"] == 400
    assert b"did not arrive in time" in body["body"]


def test_a_caller_that_disconnects_gets_no_reply_and_no_call_is_made(world: World) -> None:
    token = world.token("/filesystem/file/write", FILE)
    part = {"type": "http.request", "body": b'{"path":"f","content":"x"}', "more_body": True}
    assert world.run(deliver(world.ports, token, part, {"type": "http.disconnect"})) == []
    assert not (world.folder / "f").exists()


@pytest.mark.parametrize(
    ("pol", "names"),
    [
        ([["==", ".args", {}]], None),
        ([["==", ".args.state", "open"], ["==", '.args["per-page"]', 1]], {"state", "per-page"}),
        ([["!=", ".args.state", "open"], ["==", ".cmd", "/x"], ["==", ".args.a.b", 1]], set()),
        ([["or", [["==", ".args", {}]]], "nonsense", []], set()),
        ([], set()),
        (None, set()),
    ],
)
def test_arguments_count_as_bound_only_where_the_issuer_fixed_them(
    pol: Any, names: set[str] | None
) -> None:
    assert signed_args(pol) == names
