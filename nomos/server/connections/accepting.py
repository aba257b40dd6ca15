"""Accepting connections from a listening socket, within the listener's limits.

The event loop's own accept loop takes thousands in a row. When descriptors run out it reports each
failure and schedules a retry for every one. Here failures are logged at a limited rate, connections
that can be spared are closed, and there is a pause before the next try. All listeners of a process
share its descriptors: the one with the most connections pauses.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from nomos.server.connections.table import ConnectionTable

AT_ONCE: Final = 32  # connections accepted before other work of the event loop runs
PAUSE_SECONDS: Final = 0.2
"""Pause before the next try, when there was no room or no descriptor."""

YIELD_SECONDS: Final = 1.0
"""How long the largest listener accepts no connections when descriptors run out."""

DROPPED_AT_ONCE: Final = 16
_SHORT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger("nomos.server.connections")


class Acceptor:
    """Accepts connections on one socket, from `start` until `close`."""

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.Protocol],
        table: ConnectionTable,
        tables: Sequence[ConnectionTable] = (),
    ) -> None:
        """`make` makes a protocol for a connection; `tables` are those of all listeners."""
        self._listener = listener
        self._make = make
        self._table = table
        self._tables = tables or (table,)
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._full = False
        self._closed = False

    def start(self) -> None:
        """Begin to accept connections."""
        self._listener.setblocking(False)
        self._table.on_room = self._on_room
        self._table.on_scarce = functools.partial(self._rest, YIELD_SECONDS)
        self._loop.add_reader(self._listener.fileno(), self._take)

    def close(self) -> None:
        """Accept no more. The socket stays open. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._table.on_room = self._table.on_scarce = lambda: None
        if self._pause is not None:
            self._pause.cancel()
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """Wait for connections that were just accepted."""
        while self._arriving:
            await asyncio.wait(self._arriving)

    def _take(self) -> None:
        for _ in range(AT_ONCE):
            if not self._table.make_room():
                log.warning("all connections are in use; new ones wait")
                self._full = True
                self._rest()
                return
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                self._table.release()
                return
            except OSError as failure:
                self._table.release()
                self._failed(failure)
                return
            task = self._loop.create_task(self._connect(accepted))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            accepted.setblocking(False)
            await self._loop.connect_accepted_socket(self._make, accepted)
        except (OSError, RuntimeError):
            accepted.close()
        finally:
            self._table.release()

    def _failed(self, failure: OSError) -> None:
        if failure.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):
            self.close()
            return
        if failure.errno in _SHORT:
            log.error(
                "a connection cannot be accepted: %s. Raise the limit of open files (ulimit -n)",
                failure.strerror,
            )
            self._make_descriptors_free()
            self._rest()
        # Any other error concerns only the connection that was waiting; it is closed.

    def _make_descriptors_free(self) -> None:
        fullest = max(self._tables, key=len)
        for _ in range(DROPPED_AT_ONCE):
            if not fullest.drop_one():
                break
        if fullest is not self._table:
            fullest.on_scarce()

    def _rest(self, seconds: float = PAUSE_SECONDS) -> None:
        if self._pause is None and not self._closed:
            self._loop.remove_reader(self._listener.fileno())
            self._pause = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._pause, self._full = None, False
        if not self._closed:
            with suppress(ValueError, OSError):
                self._loop.add_reader(self._listener.fileno(), self._take)

    def _on_room(self) -> None:
        """Accept again at once if the pause was only for lack of room."""
        if self._pause is not None and self._full:
            self._pause.cancel()
            self._resume()
