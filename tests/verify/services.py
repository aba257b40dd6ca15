"""Services that follow a control plane, as processes, and proxies between them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
from standalone import NOTE, READ, Plane, client

from nomos import Denied, Verifier
from nomos._io.signer import Signer, shared
from nomos._protocol import GenerateKey, GenerateKeyAnswer

TESTS: Final = Path(__file__).parents[1]
SCRIPT: Final = Path(__file__).with_name("following_service.py")


def new_did() -> str:
    answer = Signer(shared()).ask(GenerateKey())
    assert isinstance(answer, GenerateKeyAnswer)
    return answer.key


def register(plane: Plane, name: str) -> str:
    """Make a service known to a control plane, and return its DID."""
    did = new_did()
    body = {"name": name, "did": did, "url": "http://127.0.0.1:1"}
    assert plane.operator.post("/v1/services", json=body).status_code == 200
    return did


def api_key(plane: Plane) -> str:
    """The key that opens the feed: an operator's, for it is at hand."""
    return plane.operator_key_file.read_text().strip()


def cid(grant: dict[str, Any]) -> str:
    return hashlib.sha256(grant["chain"][-1].encode()).hexdigest()


def result_of(verifier: Verifier, grant: dict[str, Any]) -> str:
    """How a grant's token is taken: `allowed`, or the code of its refusal."""
    try:
        verifier.verify(grant["ucan"], command=READ, resource=NOTE)
    except Denied as denied:
        return denied.code
    return "allowed"


class Service:
    """`following_service.py` in a process, and what it says of tokens."""

    def __init__(self, url: str, did: str, key: str, **settings: str) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("NOMOS_")}
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(SCRIPT),
                url,
                did,
                key,
                *(f"{k}={v}" for k, v in settings.items()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ | {"PYTHONPATH": str(TESTS)},
            text=True,
        )
        assert self._answer() == "ready"

    def result(self, grant: dict[str, Any], word: str = "verify") -> str:
        """How the service takes a grant's token: `allowed`, or the code of its refusal."""
        return self.said(grant, word).partition(" ")[0]

    def said(self, grant: dict[str, Any], word: str = "verify") -> str:
        """The same with the sentence that goes with it."""
        self.send(f"{word} {grant['ucan']}")
        return self._answer()

    def send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def next_result(self) -> str:
        """The code of an answer that was not waited for yet."""
        return self._answer().partition(" ")[0]

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it, as the end of its input does; it must not hang on what it follows."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(10) == 0
        self._process.stdout.close()


Tamper = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Given a path and the true answer: what is said instead."""


class TamperingProxy:
    """Stands before a control plane and passes true answers on, until `tamper` is set."""

    def __init__(self, target: httpx.Client) -> None:
        self.tamper: Tamper | None = None
        self.truths: list[tuple[str, dict[str, Any]]] = []
        self._target = target
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                try:
                    reply = target.get(self.path)
                except httpx.HTTPError:  # it is closed, or the target is unreachable
                    self.close_connection = True
                    return
                # Replies that name another request are not even read: these do name it.
                call_id = self.headers["nomos-call-id"]
                said = reply.json()
                if reply.is_success:
                    said = proxy._said(self.path, said)
                named = said | {"callId": call_id} if isinstance(said, dict) else said
                body = json.dumps(named).encode()
                self.send_response(reply.status_code)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _said(self, path: str, truth: dict[str, Any]) -> dict[str, Any]:
        self.truths.append((path, truth))
        return truth if self.tamper is None else self.tamper(path, truth)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._target.close()


def tampering_proxy(plane: Plane) -> TamperingProxy:
    return TamperingProxy(client(plane.url, api_key(plane)))
