"""Failures of signer and database: no allow, no partial write, no leaked secret."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal as signals
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from server.control import people

from nomos._io.signer import AsyncSigner, SignerConnection
from nomos._protocol import Answer, Delegate, Hello, Invoke, Refused, Request
from nomos.errors import SignerCrashed
from nomos.server.control import routes
from nomos.server.storage import engine
from nomos.server.storage.store import Store

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio


class Failing:
    """The real signer, which fails at the requests that a test names."""

    def __init__(self, signer: AsyncSigner) -> None:
        self._signer = signer
        self.dies_at: type[Request] | None = None
        self.refuses: type[Request] | None = None

    async def ask(self, request: Request) -> Answer | Refused:
        if self.dies_at is not None and isinstance(request, self.dies_at):
            raise SignerCrashed("the signing binary ended twice before it answered")
        if self.refuses is not None and isinstance(request, self.refuses):
            return Refused(code="internal", message="nomos-ucan failed on this request")
        return await self._signer.ask(request)


def unavailable(reply: Any) -> None:
    assert (reply.status_code, reply.json()["error_code"]) == (503, "unavailable")
    assert reply.headers["retry-after"] == "1"
    assert "decision" not in reply.json()


@pytest.mark.parametrize("request_type", [Delegate, Invoke])
@pytest.mark.parametrize("how", ["dies_at", "refuses"])
async def test_without_a_signature_no_allow_is_stored(
    tmp_path: Path,
    signer: AsyncSigner,
    open_plane: OpenPlane,
    request_type: type[Request],
    how: str,
) -> None:
    failing = Failing(signer)
    key = {"idempotency-key": "k"}
    async with open_plane(tmp_path / "data", failing) as plane:
        setattr(failing, how, request_type)
        unavailable(await plane.ask(key))
        assert await plane.receipts() == ()
        setattr(failing, how, None)
        assert (await plane.ask(key)).json()["decision"] == "allow"
        assert len(await plane.receipts()) == 1


async def test_a_deny_needs_no_signature(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, agent: str
) -> None:
    failing = Failing(signer)
    async with open_plane(tmp_path / "data", failing) as plane:
        failing.dies_at = Delegate
        answer = (
            await plane.ask(
                agentDid=agent, resource={"provider": "github", "owner": "acme", "repo": "archive"}
            )
        ).json()
        assert answer["decision"] == "deny"


@pytest.mark.parametrize("request_type", [Delegate, Invoke])
async def test_without_a_signature_no_approval_is_consumed(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, request_type: type[Request]
) -> None:
    failing = Failing(signer)
    async with open_plane(tmp_path / "data", failing, policy=people.POLICY) as plane:
        lead = await people.operator(plane, "lead")
        envelope = await people.approved(plane, lead, **people.ISSUE)
        failing.dies_at = request_type
        unavailable(await plane.ask(**people.ISSUE, cosignerEnvelopeId=envelope))
        assert (await people.seen(plane, envelope))["state"] == "approved"
        failing.dies_at = None
        answer = (await plane.ask(**people.ISSUE, cosignerEnvelopeId=envelope)).json()
        assert answer["decision"] == "allow"


async def test_a_killed_binary_is_started_again(
    tmp_path: Path, binary: Path, open_plane: OpenPlane
) -> None:
    link = SignerConnection(binary)
    try:
        async with open_plane(tmp_path / "data", AsyncSigner(link)) as plane:
            assert (await plane.ask()).json()["decision"] == "allow"
            process = link.running()
            assert process is not None
            os.kill(process.pid, signals.SIGKILL)
            assert (await plane.ask()).json()["decision"] == "allow"
    finally:
        link.close()


async def test_a_full_database_is_unavailable_and_keeps_nothing(plane: Plane, agent: str) -> None:
    """A trigger stands in for the disk: the transaction fails at its last statement."""
    database = plane.system.store.database
    await database.write(
        lambda connection: connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    )
    key = {"idempotency-key": "k"}
    unavailable(await plane.ask(key, agentDid=agent))
    assert (await plane.system.store.prior(plane.app, "k", ()))[0] is None
    await database.write(lambda connection: connection.exec_driver_sql("DROP TRIGGER full"))
    assert (await plane.ask(key, agentDid=agent)).json()["decision"] == "allow"


async def test_a_locked_database_is_unavailable_and_recovers(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.05)
    async with open_plane(tmp_path / "data", signer) as plane:
        other = sqlite3.connect(tmp_path / "data" / "nomos.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for reply in await asyncio.gather(*(plane.ask() for _ in range(5))):
            unavailable(reply)
        other.execute("ROLLBACK")
        other.close()
        assert (await plane.ask()).json()["decision"] == "allow"


async def test_a_failed_lookup_of_the_key_is_unavailable(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plane.system.store.close()
    unavailable(await plane.ask())
    unavailable(await plane.client.get("/readyz"))
    assert (await plane.client.get("/healthz")).status_code == 200


async def test_readiness_needs_the_signer(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane
) -> None:
    failing = Failing(signer)
    async with open_plane(tmp_path / "data", failing) as plane:
        assert (await plane.client.get("/readyz")).json() == {"status": "ready"}
        failing.dies_at = Hello
        unavailable(await plane.client.get("/readyz"))
        failing.dies_at, failing.refuses = None, Hello
        unavailable(await plane.client.get("/readyz"))


async def test_an_unexpected_exception_is_a_500_without_details(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(routes, "authorize", broken)
    reply = await plane.ask({"x-request-id": "quote-me"})
    assert (reply.status_code, reply.headers["x-request-id"]) == (500, "quote-me")
    body = reply.json()
    assert (body["error_code"], body["request_id"]) == ("internal", "quote-me")
    assert "a bug" not in reply.text
    assert "quote-me" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_no_log_holds_a_secret(
    tmp_path: Path,
    signer: AsyncSigner,
    open_plane: OpenPlane,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With every logger at its most talkative, on good ways and bad ones."""
    caplog.set_level(logging.DEBUG)
    failing = Failing(signer)
    async with open_plane(tmp_path / "data", failing) as plane:
        answer = (await plane.ask({"idempotency-key": "k"})).json()
        await plane.ask({"idempotency-key": "k"})
        await plane.ask(ttlSeconds=0)
        await plane.ask({"authorization": f"Basic {plane.key}"})
        failing.dies_at = Delegate
        await plane.ask()
        await Store.close(plane.system.store)
        await plane.ask()
        secrets = [plane.key.rsplit("_", 1)[1], answer["ucan"], answer["chain"][0]]
        secrets.append(hashlib.sha256(secrets[0].encode()).hexdigest())
        seeds = [path.read_text().strip() for path in (tmp_path / "data" / "keys").iterdir()]
    assert "nothing was decided" in caplog.text
    for secret in secrets + seeds:
        assert secret not in caplog.text


async def test_a_client_that_disconnects_is_no_failure(
    plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/authorize",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {plane.key}".encode())],
    }
    messages = iter(
        [
            {"type": "http.request", "body": b'{"comm', "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    await plane.system.control(scope, receive, send)
    assert await plane.receipts() == ()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
