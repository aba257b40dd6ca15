"""HTTP clients of guards, verifiers and the command line, for threads and for tasks.

httpx is imported on first use. Both clients turn transport errors into `Unreachable`, limit the
time and the size of a reply, follow no redirect, and add the API key last, so that no flow ever has
it. A reply must name its request (`nomos._core.reply_identity`): one that does not closes all
connections, and one that is followed by more bytes closes its own. A client belongs to the process
that made it: after `fork()` the child makes its own.

httpx reads nothing from the environment: `proxies` chooses the proxy, `tls` the trusted certificate
authorities, and `urls` which URLs may be called.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from nomos._core import reply_identity
from nomos._core.effects import HttpReply, Send
from nomos._io import excess_bytes
from nomos._io.deadline import Deadline
from nomos._io.failures import failures, unreachable
from nomos._io.proxies import proxy_for
from nomos._io.reply_body import areceive, check_plain, new_call_id, pieces, read, receive
from nomos._io.urls import checked_url
from nomos.models import Secret

if TYPE_CHECKING:
    import httpx

    from nomos._io.network import Stream

MAX_REQUESTS: Final = 16
"""Concurrent requests of one client. httpx's connection pool scans every connection for every
request, so fifty at once cost twice the processor time of sixteen and are no faster."""

MAX_LONG_POLLS: Final = 64
"""Concurrent requests that the server holds open; they do not count towards `MAX_REQUESTS`."""

LEAST_PIECE: Final = 1024  # bytes of a long reply that must arrive within each timeout


class Endpoint:
    """A base URL with its API key, its proxy and its timeout.

    `timeout` is in seconds, for a whole request. `allow_insecure` names hosts that may be called
    over plain http; `setting` is where the URL comes from. `failure_reason` may return a better
    reason for a missing reply. Raises `ConfigurationError` for a URL or a proxy that must not be
    used.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: Secret | None,
        timeout: float,
        allow_insecure: Iterable[str] = (),
        setting: str = "control_plane_url",
    ) -> None:
        self.url = checked_url(url, setting=setting, allow_insecure=allow_insecure)
        self.proxy = proxy_for(self.url, os.environ)
        self.api_key = api_key
        self.timeout = timeout
        self.failure_reason: Callable[[], str | None] = lambda: None

    def headers(self, send: Send, call_id: str) -> dict[str, str]:
        """Return the headers of a request, with the API key and the id of the call."""
        own = {"authorization": f"Bearer {self.api_key.reveal()}"} if self.api_key else {}
        # A compressed reply could exceed the size limit while it is decompressed.
        return {
            **send.headers,
            "accept-encoding": "identity",
            reply_identity.HEADER: call_id,
            **own,
        }

    def limit(self, send: Send, deadline: Deadline | None) -> float:
        """Return the seconds for one request, with its wait for a free connection."""
        usual = self.timeout + send.extra_timeout
        within = usual if send.within is None else min(usual, send.within)
        return within if deadline is None else min(within, deadline.left())


class Http:
    """The client for threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client: _ProcessClient | None = None

    def send(self, send: Send, deadline: Deadline | None = None) -> HttpReply:
        """Send a request and read its reply, within its own limit and that of `deadline`."""
        own = Deadline(self._endpoint.limit(send, deadline))
        whole = own if deadline is None else deadline
        whole.tries += 1
        call_id = new_call_id()
        try:
            with self._using() as held, self._sent(held.client, send, call_id, own) as response:
                reply = receive(response)
                if excess_bytes.state_after(response) == "unknown":
                    self._give_up(held)
                reply_identity.check(reply, call_id)
        except failures() as error:
            raise unreachable(self._endpoint, error, send, whole) from error
        return reply

    @contextmanager
    def stream(self, send: Send) -> Iterator[tuple[HttpReply, Iterator[bytes]]]:
        """Send a request, and yield its reply with a body of any length, piece by piece.

        `timeout` limits the wait for the headers, and then for each kilobyte. An error reply is
        read completely, as by `send`, and has no pieces.
        """
        own = Deadline(self._endpoint.timeout)
        own.tries += 1
        call_id = new_call_id()
        try:
            with self._using() as held, self._sent(held.client, send, call_id, own) as response:
                if response.status_code != 200:
                    reply = receive(response)
                    reply_identity.check(reply, call_id)
                    yield reply, iter(())
                else:
                    check_plain(response.headers)
                    lines = reply_identity.check_lines(self._steady(response), call_id)
                    yield read(response), lines
                if excess_bytes.state_after(response) == "unknown":
                    self._give_up(held)
        except failures() as error:
            raise unreachable(self._endpoint, error, send, own) from error

    def _steady(self, response: httpx.Response) -> Iterator[bytes]:
        """Yield the body as it arrives, as long as each kilobyte arrives within the timeout."""
        line: Stream = response.extensions["network_stream"]
        came = LEAST_PIECE
        for piece in pieces(response):
            came += len(piece)
            if came >= LEAST_PIECE:
                line.until, came = time.monotonic() + self._endpoint.timeout, 0
            yield piece

    @contextmanager
    def _using(self) -> Iterator[_ProcessClient]:
        """Yield this process's client for one request; discard it if the reply is for another."""
        held = self._own()
        while not held.enter():  # discarded by another thread meanwhile
            held = self._own()
        try:
            yield held
        except reply_identity.ReplyMismatch:
            self._give_up(held)
            raise
        finally:
            held.leave()

    def _sent(
        self, client: httpx.Client, send: Send, call_id: str, own: Deadline
    ) -> AbstractContextManager[httpx.Response]:
        """Send a request; the value is its response, whose body is not read yet."""
        return client.stream(
            send.method,
            self._endpoint.url + send.path,
            headers=self._endpoint.headers(send, call_id),
            content=send.body,
            timeout=own.end,  # a point in time: see nomos._io.network
        )

    def _own(self) -> _ProcessClient:
        held = self._client
        if held is None or held.pid != os.getpid():
            held = self._client = _ProcessClient(self._endpoint)
            weakref.finalize(self, held.close)
        return held

    def _give_up(self, held: _ProcessClient) -> None:
        """Discard a client with all of its connections."""
        if self._client is held:
            self._client = None
        held.close()

    def close(self) -> None:
        """Close this process's client as soon as it has no request in progress."""
        held, self._client = self._client, None
        if held is not None:
            held.close()


class _ProcessClient:
    """A client that is closed once its requests in progress have ended.

    Closing a socket does not wake another thread that waits on it: that thread would go on waiting
    on the next file with the same descriptor number.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        from nomos._io.transports import thread_client

        self.pid = os.getpid()
        self.client = thread_client(endpoint.url, endpoint.proxy)
        self._lock = threading.Lock()
        self._under_way = 0
        self._closing = False

    def enter(self) -> bool:
        """Begin a request; False if this client is closed or being closed."""
        with self._lock:
            if not self._closing:
                self._under_way += 1
            return not self._closing

    def leave(self) -> None:
        """End a request."""
        with self._lock:
            self._under_way -= 1
            last = self._closing and self._under_way == 0
        if last:
            self.client.close()

    def close(self) -> None:
        if self.pid != os.getpid():
            return
        with self._lock:
            self._closing = True
            idle = self._under_way == 0
        if idle:
            self.client.close()


class AsyncHttp:
    """The client for tasks, under asyncio and trio, with one httpx client per running loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._clients: anyio.lowlevel.RunVar[_LoopClient] = anyio.lowlevel.RunVar(
            f"nomos-http-{id(self)}"
        )
        self._gates: anyio.lowlevel.RunVar[tuple[int, anyio.Lock]] = anyio.lowlevel.RunVar(
            f"nomos-http-gate-{id(self)}"
        )

    async def send(self, send: Send, deadline: Deadline | None = None) -> HttpReply:
        """See `Http.send`."""
        own = Deadline(self._endpoint.limit(send, deadline))
        whole = own if deadline is None else deadline
        whole.tries += 1
        try:
            with anyio.fail_after(own.left()):
                held = await self._own()
                async with held.held if send.extra_timeout else held.turn, held.using():
                    return await self._exchange(held, send)
        except failures() as error:
            raise unreachable(self._endpoint, error, send, whole) from error

    async def _exchange(self, held: _LoopClient, send: Send) -> HttpReply:
        call_id = new_call_id()
        async with held.client.stream(
            send.method,
            self._endpoint.url + send.path,
            headers=self._endpoint.headers(send, call_id),
            content=send.body,
        ) as response:
            reply = await areceive(response)
            if excess_bytes.state_after(response) == "unknown":
                held.given_up = True
        try:
            reply_identity.check(reply, call_id)
        except reply_identity.ReplyMismatch:
            held.given_up = True
            raise
        return reply

    async def _own(self) -> _LoopClient:
        held = self._held()
        if held is not None:
            return held
        async with self._gate():
            held = self._held()  # another task was here first
            if held is None:
                # Importing httpx and reading certificates would block the loop for too long.
                client = await anyio.to_thread.run_sync(self._made, abandon_on_cancel=True)
                held = _LoopClient(client)
                self._clients.set(held)
                await held.open()
        return held

    def _held(self) -> _LoopClient | None:
        held = self._clients.get(None)
        usable = held is not None and held.pid == os.getpid() and not held.given_up
        return held if usable else None

    def _gate(self) -> anyio.Lock:
        pid, gate = self._gates.get((0, anyio.Lock()))
        if pid != os.getpid():
            gate = anyio.Lock()
            self._gates.set((os.getpid(), gate))
        return gate

    def _made(self) -> httpx.AsyncClient:
        from nomos._io.transports import task_client

        return task_client(self._endpoint.url, self._endpoint.proxy)

    async def close(self) -> None:
        """Close this loop's client; other loops close theirs when they end."""
        held = self._held()
        if held is not None:
            await held.close()


class _LoopClient:
    """A client that is closed when its loop ends.

    Event loops have no hook for that, but all of them finish their asynchronous generators: one
    that is suspended around the open client closes it in time.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.pid = os.getpid()
        self.client = client
        self.turn = anyio.CapacityLimiter(MAX_REQUESTS)
        self.held = anyio.CapacityLimiter(MAX_LONG_POLLS)
        self.given_up = False
        """Whether the client is discarded: none of its connections may be used again."""
        self._under_way = 0
        self._open = self._until_the_loop_ends()

    @asynccontextmanager
    async def using(self) -> AsyncIterator[None]:
        """Count a request in progress. A discarded client is closed after its last one."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if self.given_up and not self._under_way:
                await self.close()

    async def open(self) -> None:
        await anext(self._open)

    async def close(self) -> None:
        await self._open.aclose()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await self.client.aclose()
