"""Serves a system on two sockets, in one event loop.

Each socket has its own limit on connections, so that the clients of one cannot exclude those of the
other. `nomos.server.connections` has the limits of each connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import socket
import sys
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from nomos._limits import MAX_HEAD
from nomos.errors import ConfigurationError
from nomos.server.connections.accepting import Acceptor
from nomos.server.connections.hosts import AllowedHosts
from nomos.server.connections.limits import ConnectionLimits
from nomos.server.connections.protocol import Connection
from nomos.server.connections.table import ConnectionTable
from nomos.server.log_limits import limit_logs

if TYPE_CHECKING:
    from nomos.server.app import System

BACKLOG: Final = 2048
"""Connections that wait in the kernel, so that a burst is queued and not refused."""

MAX_PORT: Final = 65535
GRACE_SECONDS: Final = 5
"""How long running requests may take after the server is asked to stop."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `port`, 0 for any free one.

    Raises ConfigurationError if the port is in use or the host is not this machine's.
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
            f"port {port} on {host} is in use. Stop the program that listens there, or choose "
            "another port (0 selects any free one)",
            setting="port",
        )
    message = f"cannot listen on {host}:{port}: {failure.strerror}"
    return ConfigurationError(message, setting="host")


async def serve(
    system: System,
    control_socket: socket.socket,
    pdp_socket: socket.socket,
    *,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve both sockets until `stop` is set or the task is cancelled.

    The caller handles signals. When this returns, the sockets are closed; the system is still open.
    """
    sockets = ((system.control, control_socket), (system.pdp, pdp_socket))
    await listen(*sockets, stop=stop, stopping=system.stopping, host_names=system.host_names)


async def listen(
    *served: tuple[ASGIApp, socket.socket],
    stop: asyncio.Event | None = None,
    stopping: Callable[[], None] = lambda: None,
    host_names: Collection[str] = (),
    limits: ConnectionLimits | None = None,
) -> None:
    """Serve each app on its socket; at a stop, `stopping` is called first.

    `host_names` are the hosts, beside loopback, that requests may name. `limits` are those of
    each socket's connections; by default they follow from the limit of open files.
    """
    limit_logs()
    limits = limits or ConnectionLimits.of_this_process()
    tables: list[ConnectionTable] = []
    servers = [
        _Server(_config(AllowedHosts(app, host_names), limits), listener, limits, tables)
        for app, listener in served
    ]
    stop_requested = asyncio.create_task((stop or asyncio.Event()).wait())
    running = [asyncio.create_task(server.run_until_stopped()) for server in servers]
    try:
        await asyncio.wait([stop_requested, *running], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop_requested.cancel()
        stopping()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)


def _config(app: ASGIApp, limits: ConnectionLimits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        access_log=False,
        lifespan="on",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=int(limits.idle),
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD,
    )


class _Server(uvicorn.Server):
    """A uvicorn server that installs no signal handlers and limits connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        limits: ConnectionLimits,
        tables: list[ConnectionTable],
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._table = ConnectionTable(limits)
        self._tables = tables
        tables.append(self._table)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        make = functools.partial(
            Connection,
            self._table,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        acceptor = Acceptor(self._listener, make, self._table, self._tables)
        acceptor.start()
        self.servers = [acceptor]  # type: ignore[list-item]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def run_until_stopped(self) -> None:
        try:
            await self.serve(sockets=[self._listener])
        finally:
            self._listener.close()
