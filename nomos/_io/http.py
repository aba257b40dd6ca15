"""HTTP for the guards. The one file of the SDK that imports httpx, and only on first use.

Both clients turn whatever goes wrong on the way into `Unreachable`, bound the time and the
size of an answer, follow no redirect, and add the API key last, so that no flow ever holds it.
A reply has to name its request (`nomos._core.echo`); one that does not ends all connections, and
one that is followed by more bytes ends its own. A client belongs to the process that made it:
after `fork()` the child makes its own.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from nomos._core import echo
from nomos._core.effects import HttpReply, Send
from nomos._io import leftover
from nomos._io.urls import checked_url
from nomos.errors import Unintelligible, Unreachable
from nomos.models import Secret

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS: Final = 3.0
MAX_REPLY: Final = 4 * 1024 * 1024

AT_ONCE: Final = 16
"""Requests that one client has under way. httpx's connection pool looks at every connection for
every request, so fifty at once cost twice the processor time of sixteen and are no faster."""

HELD_AT_ONCE: Final = 64
"""Requests beside those that the server holds open: who waits for a person holds nobody up."""


class Endpoint:
    """Where to send, as whom, and how long to wait.

    `direct` ignores proxy settings; `trouble` may know better why nothing answers.
    """

    def __init__(
        self, url: str, *, api_key: Secret | None, timeout: float, direct: bool = False
    ) -> None:
        self.url = checked_url(url, setting="control_plane_url")
        self.api_key = api_key
        self.timeout = timeout
        self.direct = direct
        self.trouble: Callable[[], str | None] = lambda: None

    def headers(self, send: Send, call_id: str) -> dict[str, str]:
        own = {"authorization": f"Bearer {self.api_key.reveal()}"} if self.api_key else {}
        # A compressed answer could grow past its bound while it is being read.
        return {**send.headers, "accept-encoding": "identity", echo.HEADER: call_id, **own}

    def options(self) -> dict[str, Any]:
        return {
            "timeout": self.timeouts(),
            "follow_redirects": False,
            "trust_env": not self.direct,
        }

    def timeouts(self, patience: float = 0.0) -> httpx.Timeout:
        """How long to wait for each step of a request; `patience` is for the answer alone."""
        import httpx

        connect = min(CONNECT_SECONDS, self.timeout)
        return httpx.Timeout(self.timeout, connect=connect, read=self.timeout + patience)


class Http:
    """Sends from threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client: _ProcessClient | None = None

    def send(self, send: Send) -> HttpReply:
        import httpx

        limit = self._endpoint.timeout + send.patience
        end = time.monotonic() + limit
        held, call_id = self._own(), _call_id()
        try:
            with (
                held as client,
                client.stream(
                    send.method,
                    self._endpoint.url + send.path,
                    headers=self._endpoint.headers(send, call_id),
                    content=send.body,
                    timeout=self._endpoint.timeouts(send.patience),
                ) as response,
            ):
                body = bytearray()
                _check_plain(response.headers)
                _bound_announced(response.headers)
                for chunk in _pieces(response):
                    body += chunk
                    _bound(body, late=time.monotonic() > end, timeout=limit)
                reply = _reply(response.status_code, response.headers, body)
                if leftover.after(response) == "unknown":
                    self._give_up(held)
            echo.check(reply, call_id)
        except echo.AnotherReply:
            self._give_up(held)
            raise
        except httpx.HTTPError as error:
            raise _unreachable(self._endpoint, error, send) from error
        return reply

    @contextmanager
    def stream(self, send: Send) -> Iterator[tuple[HttpReply, Iterator[bytes]]]:
        """An answer of any length, piece by piece; `timeout` bounds the wait for each piece.

        A refusal is read in full, as by `send`, and has no pieces.
        """
        import httpx

        held, call_id = self._own(), _call_id()
        try:
            with (
                held as client,
                client.stream(
                    send.method,
                    self._endpoint.url + send.path,
                    headers=self._endpoint.headers(send, call_id),
                    content=send.body,
                ) as response,
            ):
                body = bytearray()
                _check_plain(response.headers)
                if response.status_code != 200:
                    for chunk in _pieces(response):
                        body += chunk
                        _bound(body, late=False, timeout=self._endpoint.timeout)
                reply = _reply(response.status_code, response.headers, body)
                if reply.status != 200:
                    echo.check(reply, call_id)
                    yield reply, iter(())
                else:
                    yield reply, echo.check_lines(_pieces(response), call_id)
                if leftover.after(response) == "unknown":
                    self._give_up(held)
        except echo.AnotherReply:
            self._give_up(held)
            raise
        except httpx.HTTPError as error:
            raise _unreachable(self._endpoint, error, send) from error

    def _own(self) -> _ProcessClient:
        held = self._client
        if held is None or held.pid != os.getpid():
            held = self._client = _ProcessClient(self._endpoint.options())
            weakref.finalize(self, held.close)
        return held

    def _give_up(self, held: _ProcessClient) -> None:
        """Use none of a client's connections again."""
        if self._client is held:
            self._client = None
        held.close()

    def close(self) -> None:
        """Close this process's client, as soon as nothing of it is under way."""
        held, self._client = self._client, None
        if held is not None:
            held.close()


class _ProcessClient:
    """A client that is closed once the requests under way have ended.

    To close a socket that another thread waits on does not wake that thread, and it would go on
    waiting on whatever gets the same file descriptor next.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        import httpx

        self.pid = os.getpid()
        # Each thread has a connection: a bound here would make some wait for others' people.
        self._client = httpx.Client(**options, limits=httpx.Limits(max_keepalive_connections=20))
        self._lock = threading.Lock()
        self._under_way = 0
        self._closing = False

    def __enter__(self) -> httpx.Client:
        with self._lock:
            self._under_way += 1
        return self._client

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._under_way -= 1
            last = self._closing and self._under_way == 0
        if last:
            self._client.close()

    def close(self) -> None:
        if self.pid != os.getpid():
            return
        with self._lock:
            self._closing = True
            idle = self._under_way == 0
        if idle:
            self._client.close()


class AsyncHttp:
    """Sends from tasks, under asyncio and trio, with one client per running loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._clients: anyio.lowlevel.RunVar[_LoopClient] = anyio.lowlevel.RunVar(
            f"nomos-http-{id(self)}"
        )

    async def send(self, send: Send) -> HttpReply:
        import httpx

        own, limit = await self._own(), self._endpoint.timeout + send.patience
        async with own.held if send.patience else own.turn:
            try:
                with anyio.fail_after(limit):
                    return await self._exchange(own, send)
            except (httpx.HTTPError, TimeoutError) as error:
                raise _unreachable(self._endpoint, error, send) from error

    async def _exchange(self, own: _LoopClient, send: Send) -> HttpReply:
        call_id = _call_id()
        async with own.using() as client:
            async with client.stream(
                send.method,
                self._endpoint.url + send.path,
                headers=self._endpoint.headers(send, call_id),
                content=send.body,
                timeout=self._endpoint.timeouts(send.patience),
            ) as response:
                body = bytearray()
                _check_plain(response.headers)
                _bound_announced(response.headers)
                async for chunk in _apieces(response):
                    body += chunk
                    _bound(body, late=False, timeout=self._endpoint.timeout)
                reply = _reply(response.status_code, response.headers, body)
                if leftover.after(response) == "unknown":
                    own.give_up(client)
            try:
                echo.check(reply, call_id)
            except echo.AnotherReply:
                own.give_up(client)
                raise
        return reply

    async def _own(self) -> _LoopClient:
        held = self._clients.get(None)
        if held is None or held.pid != os.getpid():
            held = _LoopClient(self._endpoint.options())
            self._clients.set(held)
            await held.open()
        return held

    async def close(self) -> None:
        """Close this loop's client; other loops close theirs when they end."""
        held = self._clients.get(None)
        if held is not None and held.pid == os.getpid():
            await held.close()


class _LoopClient:
    """A client that is closed when its loop ends.

    No loop has a hook for that, but all of them finish their asynchronous generators: one
    that is suspended around the open client closes it in time.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        import httpx

        self.pid = os.getpid()
        self.turn = anyio.CapacityLimiter(AT_ONCE)
        self.held = anyio.CapacityLimiter(HELD_AT_ONCE)
        self._options = options
        self._client = httpx.AsyncClient(**options)
        self._using: dict[httpx.AsyncClient, int] = {self._client: 0}
        self._open = self._until_the_loop_ends()

    @asynccontextmanager
    async def using(self) -> AsyncIterator[httpx.AsyncClient]:
        """The client for one request. One that was given up is closed after its last request."""
        client = self._client
        self._using[client] += 1
        try:
            yield client
        finally:
            self._using[client] -= 1
            if client is not self._client and not self._using[client]:
                del self._using[client]
                with anyio.CancelScope(shield=True):
                    await client.aclose()

    def give_up(self, client: httpx.AsyncClient) -> None:
        """Use none of a client's connections for another request."""
        import httpx

        if client is self._client:
            self._client = httpx.AsyncClient(**self._options)
            self._using[self._client] = 0

    async def open(self) -> None:
        await anext(self._open)

    async def close(self) -> None:
        await self._open.aclose()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                for client in tuple(self._using):
                    await client.aclose()


def _call_id() -> str:
    """What a reply has to repeat; new for each try."""
    return secrets.token_urlsafe(18)


def _pieces(response: httpx.Response) -> Iterator[bytes]:
    """The body as it comes. Unlike `iter_raw`, the end does not free the connection."""
    import httpx

    assert isinstance(response.stream, httpx.SyncByteStream), "a sync client has sync streams"
    yield from response.stream


async def _apieces(response: httpx.Response) -> AsyncIterator[bytes]:
    import httpx

    assert isinstance(response.stream, httpx.AsyncByteStream), "an async client has async streams"
    async for piece in response.stream:
        yield piece


def _check_plain(headers: Mapping[str, str]) -> None:
    """Refuse a compressed answer: a few bytes of it can be any number once they are unpacked."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Unintelligible(
            "the control plane compressed its answer, which it was asked not to do"
        )


def _bound_announced(headers: Mapping[str, str]) -> None:
    """Refuse by the announced length before reading: it is cheaper than giving up half-way."""
    announced = headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > MAX_REPLY):
        raise _too_long()


def _bound(body: bytearray, *, late: bool, timeout: float) -> None:
    if len(body) > MAX_REPLY:
        raise _too_long()
    if late:
        raise Unreachable(f"the control plane did not finish its answer within {timeout:g} s")


def _too_long() -> Unintelligible:
    return Unintelligible(f"the control plane's answer is longer than {MAX_REPLY} bytes")


def _reply(status: int, headers: Mapping[str, str], body: bytearray) -> HttpReply:
    lowered = {name.lower(): value for name, value in headers.items()}
    return HttpReply(status, lowered, bytes(body), time.time())


def _unreachable(endpoint: Endpoint, error: Exception, send: Send) -> Unreachable:
    what = (
        f"did not answer within {endpoint.timeout + send.patience:g} s"
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
        else f"cannot be reached: {error or type(error).__name__}"
    )
    return Unreachable(
        endpoint.trouble()
        or f"the control plane at {endpoint.url} {what}. "
        "Is it running, and is control_plane_url right?"
    )
