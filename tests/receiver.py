"""A webhook receiver on loopback with scripted replies: good, faulty, slow or none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Got:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What came, and how to answer the n-th request (from 0): a status, or seconds to hang."""

    url: str = ""
    answer: Callable[[int], int] = lambda _: 204
    hang: float = 0.0
    location: str = ""
    got: list[Got] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, count: int, seconds: float = 15.0) -> list[Got]:
        """Return what came once there are `count`; fails after a while."""
        end = time.monotonic() + seconds
        while len(self.got) < count:
            assert time.monotonic() < end, f"{len(self.got)} of {count} came"
            time.sleep(0.02)
        return list(self.got)


def _plain(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """Receive until the end of the block, on any port or on one that was used before."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with receiver._lock:
                number = len(receiver.got)
                receiver.got.append(Got(self.path, _plain(self.headers), body))
                receiver._now += 1
                receiver.most_at_once = max(receiver.most_at_once, receiver._now)
            time.sleep(receiver.hang)
            with receiver._lock:
                receiver._now -= 1
            self.send_response(receiver.answer(number))
            if receiver.location:
                self.send_header("location", receiver.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            receiver.got.append(Got(self.path, _plain(self.headers), b""))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, request: object, client_address: object) -> None:
            """The sender may have left while we hung."""

    with Server(("127.0.0.1", port), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hooks?team=blue"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield receiver
        finally:
            server.shutdown()
