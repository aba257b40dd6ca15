"""A provider, a policy and a registered service for tests of services."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx

from nomos import AuthGuard, Grant
from nomos._io.signer import Signer, shared
from nomos._protocol import ForgetKey, LoadKey, LoadKeyAnswer
from nomos.verify import AsyncVerifier, MemoryReplayStore, Verifier

EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "fastapi_service"
STARTED_WITHIN: Final = 60.0
"""Seconds: the first request waits until the service has started, which takes longer under load."""

PROVIDER: Final = """
provider: tickets
fields:
  queue: {required: true}
  number: {type: integer}
commands:
  /tickets/ticket/list:
    risk: read
    resource: [queue]
    args:
      state: {}
  /tickets/ticket/read:
    risk: read
    resource: [queue, number]
  /tickets/ticket/close:
    risk: write
    method: POST
    resource: [queue, number]
    args:
      comment: {required: true}
"""
POLICY: Final = """
@id("tickets") permit (principal, action in Action::"/tickets", resource);
@id("github") permit (principal, action in Action::"/github", resource);

@id("careful") @step_up("lead") @reason("a lead closes what is careful")
forbid (principal, action in Action::"/tickets", resource)
when { resource.queue == "careful" } unless { context.cosigned };
"""
LIST: Final = "/tickets/ticket/list"
READ: Final = "/tickets/ticket/read"
CLOSE: Final = "/tickets/ticket/close"
OPS: Final = {"provider": "tickets", "queue": "ops"}
SEVEN: Final = {**OPS, "number": 7}


@dataclass(frozen=True)
class System:
    """A running system; `tickets` and `other` are the DIDs of two registered services."""

    guard: AuthGuard
    tickets: str
    other: str

    @cached_property
    def issuer(self) -> str:
        known = httpx.get(f"{self.guard.control_plane_url}/.well-known/nomos").json()
        return str(known["issuers"][0]["did"])

    def verifier(self, audience: str | None = None, **settings: Any) -> Verifier:
        return Verifier(**self._settings(audience, settings))

    def async_verifier(self, audience: str | None = None, **settings: Any) -> AsyncVerifier:
        return AsyncVerifier(**self._settings(audience, settings))

    def _settings(self, audience: str | None, settings: dict[str, Any]) -> dict[str, Any]:
        return {
            "trusted_issuers": [self.issuer],
            "audience": audience or self.tickets,
            "replay": MemoryReplayStore(),
            "revocations": (),
            **settings,
        }

    def grant(self, command: str, resource: dict[str, Any], **more: Any) -> Grant:
        return self.guard.authorize(
            command=command, resource=resource, **{"audience": self.tickets, **more}
        )


@dataclass(frozen=True)
class Served:
    """A service that answers at `url`, and whose DID is `did`."""

    did: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def list(self, headers: dict[str, str], queue: str = "ops", **more: Any) -> httpx.Response:
        url = f"{self.url}/queues/{queue}/tickets"
        return httpx.get(url, headers=headers, timeout=STARTED_WITHIN, **more)

    def close(
        self, headers: dict[str, str], comment: str, number: int = 7, queue: str = "ops"
    ) -> httpx.Response:
        url = f"{self.url}/queues/{queue}/tickets/{number}/close"
        body = {"comment": comment}
        return httpx.post(url, headers=headers, json=body, timeout=STARTED_WITHIN)


@contextmanager
def served(system: System, did: str) -> Iterator[Served]:
    """Serve the example's application under a DID, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "service:app", "--log-level", "warning"),
                *("--fd", str(listener.fileno())),
            ],
            cwd=EXAMPLE,
            env={
                **os.environ,
                "NOMOS_CONTROL_URL": system.guard.control_plane_url,
                "NOMOS_ISSUER": system.issuer,
                "NOMOS_API_KEY": str(system.guard.api_key),
                "TICKETS_DID": did,
            },
            pass_fds=[listener.fileno()],
        )
    try:
        yield Served(did, port)
    finally:
        process.terminate()
        process.wait(10)


def new_did() -> str:
    """The DID of a key that is not kept: a service that verifies signs nothing."""
    signer = Signer(shared())
    answer = signer.ask(LoadKey(seed=secrets.token_hex(32)))
    assert isinstance(answer, LoadKeyAnswer)
    signer.ask(ForgetKey(key=answer.key))
    return answer.key


def register(guard: AuthGuard, name: str, did: str) -> None:
    reply = httpx.post(
        f"{guard.control_plane_url}/v1/services",
        json={"name": name, "did": did, "url": f"https://{name}.example"},
        headers={"authorization": f"Bearer {guard.approvals.operator_key.reveal()}"},
    )
    assert reply.is_success, reply.text
