"""Serving a system on two sockets, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import uvicorn
from starlette.types import ASGIApp

from nomos.errors import ConfigurationError

BACKLOG: Final = 2048
MAX_PORT: Final = 65535
MAX_HEAD: Final = 96 * 1024
"""Bytes of a request before its body: an invocation of 64 KiB and ordinary headers fit."""

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than clients keep an idle connection, or theirs would meet our closing of it."""

GRACE_SECONDS: Final = 5
"""How long requests under way may take when the server is asked to stop."""

log = logging.getLogger("nomos.server")


class Served(Protocol):
    """What is served: `nomos.server.app.System`."""

    @property
    def control(self) -> ASGIApp: ...

    @property
    def pdp(self) -> ASGIApp: ...

    def stopping(self) -> None: ...


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `port`, 0 for any free one.

    Raises ConfigurationError when the port is taken or the host is not this machine's.
    """
    if not 0 <= port <= MAX_PORT:
        message = f"cannot listen on {host}:{port}: a port is a number from 0 to {MAX_PORT}"
        raise ConfigurationError(message, setting="port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as failure:
        raise _cannot_listen(host, port, failure) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as failure:
        listener.close()
        raise _cannot_listen(host, port, failure) from None
    listener.setblocking(False)
    return listener


def _cannot_listen(host: str, port: int, failure: OSError) -> ConfigurationError:
    if failure.errno == errno.EADDRINUSE:
        return ConfigurationError(
            f"port {port} on {host} is in use. Stop what listens there, or choose another port "
            "(0 takes any free one)",
            setting="port",
        )
    message = f"cannot listen on {host}:{port}: {failure.strerror}"
    return ConfigurationError(message, setting="host")


async def serve(
    system: Served,
    control_socket: socket.socket,
    pdp_socket: socket.socket,
    *,
    stop: asyncio.Event | None = None,
) -> None:
    """Answer on both sockets until `stop` is set or the task is cancelled.

    Signals are the caller's business. When this returns the sockets are closed; the system
    is not, for it was open before.
    """
    sockets = ((system.control, control_socket), (system.pdp, pdp_socket))
    await listen(*sockets, stop=stop, stopping=system.stopping)


async def listen(
    *served: tuple[ASGIApp, socket.socket],
    stop: asyncio.Event | None = None,
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Answer for each app on its socket; `stopping` is called first when that is to end."""
    servers = [_Server(_config(app), listener) for app, listener in served]
    told = asyncio.create_task((stop or asyncio.Event()).wait())
    running = [asyncio.create_task(server.run_until_stopped()) for server in servers]
    try:
        await asyncio.wait([told, *running], return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
        stopping()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        access_log=False,
        lifespan="on",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD,
    )


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the process's signal handlers alone."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def run_until_stopped(self) -> None:
        try:
            await self.serve(sockets=[self._listener])
        finally:
            self._listener.close()
