"""A local stand-in for GitHub's API: real HTTP, GitHub's paths and shapes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghp_" + "a" * 36


@dataclass
class GitHub:
    """What was asked of it, and where it is."""

    url: str = ""
    requests: list[tuple[str, str, dict[str, list[str]], str | None]] = field(default_factory=list)


@contextmanager
def github() -> Iterator[GitHub]:
    """Serve `acme/app` on a free loopback port."""
    state = GitHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            state.requests.append(("GET", parts.path, query, self.headers.get("authorization")))
            if parts.path == "/repos/acme/app/issues":
                wanted = query.get("state", ["open"])[0]
                self.answer(200, [issue for issue in ISSUES if issue["state"] == wanted])
            elif parts.path == "/repos/acme/app":
                self.answer(200, {"id": 1, "full_name": "acme/app", "private": True})
            else:
                self.answer(404, {"message": "Not Found"})

        def answer(self, status: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json; charset=utf-8")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


ISSUES = [
    {"id": 11, "number": 1, "title": "It crashes", "state": "open", "user": {"login": "ada"}},
    {"id": 12, "number": 2, "title": "Solved", "state": "closed", "user": {"login": "bob"}},
]
