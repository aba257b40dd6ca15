"""A listener with a small application behind it, in a thread, and raw clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send

from nomos.server.connections.limits import ConnectionLimits
from nomos.server.run import bind, listen

HEAD = "Host: localhost\r\n"


def get(path: str = "/", *fields: str) -> bytes:
    more = "".join(f"{each}\r\n" for each in fields)
    return f"GET {path} HTTP/1.1\r\n{HEAD}{more}\r\n".encode()


@dataclass
class App:
    """Answers with the path and how long the body was.

    `/hold` waits until `release`; `/large` answers with megabytes.
    """

    seen: list[str] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    holding: int = 0
    left: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        self.seen.append(scope["path"])
        size, more = 0, scope["path"] != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            size += len(message["body"])
            more = message["more_body"]
        if scope["path"] == "/hold":
            self.holding += 1
            await self.release.wait()
        content = b"x" * 32_000_000 if scope["path"] == "/large" else f"{scope['path']} {size}"
        content = content if isinstance(content, bytes) else content.encode()
        headers = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


async def _lifespan(receive: Receive, send: Send) -> None:
    for what in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{what}.complete"})


@dataclass
class Listener:
    """A running listener; `others` is a second one beside it."""

    port: int
    other: int
    app: App
    loop: asyncio.AbstractEventLoop

    def connect(self, data: bytes = b"", port: int = 0) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", port or self.port), 5)
        made.settimeout(10)
        made.sendall(data)
        return made

    def ask(self, data: bytes, port: int = 0) -> bytes:
        """Send, and return all that is answered until the connection ends."""
        with self.connect(port=port) as made:
            with contextlib.suppress(OSError):
                made.sendall(data)
            return rest(made)

    def fetch(self, path: str = "/", port: int = 0) -> bytes:
        return self.ask(get(path, "Connection: close"), port)


def rest(made: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := made.recv(65536):
            found += chunk
    return found


@contextmanager
def listening(
    limits: ConnectionLimits | None = None, host_names: tuple[str, ...] = ()
) -> Iterator[Listener]:
    first, second = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    running: Future[Listener] = Future()
    stop = asyncio.Event()

    async def serve() -> None:
        app = App()
        ports = first.getsockname()[1], second.getsockname()[1]
        running.set_result(Listener(*ports, app, asyncio.get_running_loop()))
        served = (app, first), (App(), second)
        await listen(*served, stop=stop, host_names=host_names, limits=limits)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    found = running.result(10)
    try:
        yield found
    finally:
        found.loop.call_soon_threadsafe(found.app.release.set)
        found.loop.call_soon_threadsafe(stop.set)
        thread.join()
