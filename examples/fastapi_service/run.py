"""A control plane, a ticket service of its own, and an agent that calls it.

    python examples/fastapi_service/run.py

The service runs in its own process and trusts only the control plane's issuer.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from nomos import AuthGuard, Denied

HERE = Path(__file__).parent
OPS = {"provider": "tickets", "queue": "ops"}


def main() -> None:
    """Register the service, start it, and call it in ways that it allows and that it refuses."""
    with AuthGuard.embedded(
        policies=HERE / "policies.cedar", providers=HERE / "providers"
    ) as guard:
        did = new_did()
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        register(guard, "tickets", did, url)
        with service(guard, did, listener), httpx.Client(base_url=url, timeout=10) as tickets:
            work(guard, did, tickets)


def work(guard: AuthGuard, did: str, tickets: httpx.Client) -> None:
    """Do what an agent does, and what it should not get away with."""
    grant = guard.authorize(command="/tickets/ticket/list", resource=OPS, audience=did).require()
    show("list ops", tickets.get("/queues/ops/tickets", headers=grant.headers()))
    show("list board with it", tickets.get("/queues/board/tickets", headers=grant.headers()))
    show("list without a token", tickets.get("/queues/ops/tickets"))
    pdp = httpx.get(f"{guard.pdp_url}/tickets/ticket/list?queue=ops", headers=grant.headers())
    show("the same at the PDP", pdp)

    try:
        board = {"provider": "tickets", "queue": "board"}
        guard.authorize(command="/tickets/ticket/list", resource=board, audience=did).require()
    except Denied as denied:
        print(f"ask for board: {denied.code}")

    done = {"comment": "put out"}
    closing = guard.authorize(
        command="/tickets/ticket/close",
        resource={**OPS, "number": 7},
        args=done,
        audience=did,
    ).require()
    headers = closing.headers()
    path = "/queues/ops/tickets/7/close"
    show("close 7, otherwise", tickets.post(path, json={"comment": "no"}, headers=headers))
    show("close 7", tickets.post(path, json=done, headers=headers))
    show("close 7 again", tickets.post(path, json=done, headers=headers))

    guard.revoke(grant)
    until = time.monotonic() + 10
    while (answer := tickets.get("/queues/ops/tickets", headers=grant.headers())).is_success:
        if time.monotonic() > until:
            sys.exit("a revoked token is still accepted")
        time.sleep(0.05)
    show("list ops, revoked", answer)


def show(what: str, answer: httpx.Response) -> None:
    """Print one line: what was tried and what came of it."""
    body: Mapping[str, Any] = answer.json()
    said = body["error_code"] if "error_code" in body else dict(body)
    print(f"{what}: {answer.status_code} {said}")


def new_did() -> str:
    """Make a key for the service, and return its DID: all that a service needs to verify."""
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            [sys.executable, "-m", "nomos", "keygen", f"{folder}/tickets.key"],
            capture_output=True,
            text=True,
            check=True,
        )
    return made.stdout.split()[-1]


def register(guard: AuthGuard, name: str, did: str, url: str) -> None:
    """Do what `nomos services add` does: agents can name this service as the audience."""
    key = guard.approvals.operator_key.reveal()
    httpx.post(
        f"{guard.control_plane_url}/v1/services",
        json={"name": name, "did": did, "url": url},
        headers={"authorization": f"Bearer {key}"},
    ).raise_for_status()


@contextmanager
def service(guard: AuthGuard, did: str, listener: socket.socket) -> Iterator[None]:
    """Run the service in a process of its own, on a socket that is open already."""
    known = httpx.get(f"{guard.control_plane_url}/.well-known/nomos").json()
    program = [sys.executable, "-m", "uvicorn", "service:app", "--no-access-log"]
    process = subprocess.Popen(
        [*program, f"--fd={listener.fileno()}"],
        cwd=HERE,
        env={
            **os.environ,
            "NOMOS_CONTROL_URL": guard.control_plane_url,
            "NOMOS_ISSUER": known["issuers"][0]["did"],
            "NOMOS_API_KEY": str(guard.api_key),
            "TICKETS_DID": did,
        },
        pass_fds=[listener.fileno()],
        stderr=subprocess.DEVNULL,
    )
    listener.close()
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    main()
