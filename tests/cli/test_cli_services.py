"""`nomos services`: wrong names, and an empty list."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nomos.cli.app import app

KEY = f"nomos_app_{'0' * 26}_{'a' * 52}"


@pytest.fixture
def options(tmp_path: Path) -> Iterator[list[str]]:
    """Where a control plane is that has no services, and its operator's key."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            named = {"callId": self.headers["nomos-call-id"]}
            body = json.dumps({"services": []} | named).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text(f"{KEY}\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            yield ["--control-url", url, "--key-file", str(file)]
        finally:
            server.shutdown()


@pytest.mark.parametrize("did", ["foo", "did:key:z6Mkx", "did:web:example.com", "https://a.b"])
def test_a_service_is_addressed_by_its_did(did: str, options: list[str]) -> None:
    words = ["services", "add", "x", did, "https://x.example.com", *options]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "not a DID: pass the did:key:… that `nomos pdp` or `nomos keygen` prints" in done.stderr
    assert "[1-9A-HJ-NP-Za-km-z]" not in done.stderr


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_an_empty_list_is_a_note_on_stderr(options: list[str], more: list[str]) -> None:
    done = CliRunner().invoke(app, ["services", "list", *options, *more])
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "no services are registered; `nomos services add` registers one\n"
