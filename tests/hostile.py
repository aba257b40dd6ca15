"""A control plane on a real socket with scripted replies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Script:
    """What the next requests are answered with, and what came."""

    answers: list[Any] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def next(self) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@dataclass
class Reply:
    """One answer: `delay` seconds before it, `drip` seconds between its bytes.

    One that is a mapping names its request as a control plane does, unless `named` is False.
    """

    status: int = 200
    body: bytes | dict[str, Any] = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    drip: float = 0
    named: bool = True


@contextmanager
def control_plane(*answers: Reply | Callable[[bytes], Reply]) -> Iterator[Script]:
    """Serve `answers` in order, the last one for ever."""
    script = Script(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            script.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
            answer = script.next()
            self.answer(answer(body) if callable(answer) else answer)

        def answer(self, reply: Reply) -> None:
            time.sleep(reply.delay)
            content = reply.body if isinstance(reply.body, bytes) else self.named(reply)
            self.send_response(reply.status)
            for name, value in {"content-type": reply.kind, **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            try:
                for piece in [content] if not reply.drip else [bytes([one]) for one in content]:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(reply.drip)
            except OSError:
                self.close_connection = True

        def named(self, reply: Reply) -> bytes:
            assert isinstance(reply.body, dict)
            call_id = self.headers.get("nomos-call-id") if reply.named else None
            return json.dumps(reply.body | ({"callId": call_id} if call_id else {})).encode()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
