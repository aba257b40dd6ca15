"""httpx clients and transports with the connections of `network`, `proxies` and `tls`.

They read nothing from the environment but the trusted certificate authorities, and that only for
https. Making one imports httpx and reads certificates: some hundred milliseconds the first time.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import httpcore
import httpx

from nomos._io.network import CONNECT_SECONDS, LoopBackend, TimedBackend
from nomos._io.proxies import Proxy, proxy_for
from nomos._io.tls import CERT_FILE, client_context

KEPT: Final = 20  # idle connections of one client
KEPT_SECONDS: Final = 5.0  # how long an idle connection is kept


def thread_client(url: str, proxy: Proxy | None) -> httpx.Client:
    """Return a client for threads. Its `timeout` is a point in time, by `time.monotonic`."""
    pool = httpcore.ConnectionPool(
        ssl_context=_context(url),
        proxy=_proxy(proxy),
        # Each thread has a connection: with a limit, some would wait for others' long requests.
        max_connections=None,
        max_keepalive_connections=KEPT,
        keepalive_expiry=KEPT_SECONDS,
        network_backend=TimedBackend(),
    )
    return httpx.Client(transport=_Threads(pool), trust_env=False, follow_redirects=False)


def task_client(url: str, proxy: Proxy | None) -> httpx.AsyncClient:
    """Return a client for tasks, whose cancel scopes limit all but the time to connect."""
    pool = httpcore.AsyncConnectionPool(
        ssl_context=_context(url),
        proxy=_proxy(proxy),
        max_connections=None,
        max_keepalive_connections=KEPT,
        keepalive_expiry=KEPT_SECONDS,
        network_backend=LoopBackend(),
    )
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
    return httpx.AsyncClient(
        transport=_Tasks(pool), trust_env=False, follow_redirects=False, timeout=timeout
    )


def server_transport(
    url: str,
    *,
    connections: int,
    kept: int,
    ca_file: str | None = None,
    ca_setting: str = CERT_FILE,
) -> httpx.AsyncHTTPTransport:
    """Return a transport for a server's own requests to `url`: upstreams and webhooks.

    There may be `connections` at once, `kept` of them idle. `ca_file` (PEM), named by `ca_setting`,
    is trusted instead of the usual authorities. It reads certificates, so call it in a thread.
    Raises `ConfigurationError`.
    """
    proxy = proxy_for(url, os.environ)
    secure = url.startswith("https:")
    return httpx.AsyncHTTPTransport(
        # Without TLS there is nothing to verify, and no certificates to read.
        verify=client_context(os.environ, ca_file=ca_file, setting=ca_setting) if secure else False,
        trust_env=False,
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=kept),
        proxy=None if proxy is None else _named(proxy),
    )


def _named(proxy: Proxy) -> httpx.Proxy:
    auth = None if proxy.auth is None else (proxy.auth[0].decode(), proxy.auth[1].decode())
    context = client_context(os.environ) if proxy.url.startswith("https:") else None
    return httpx.Proxy(proxy.url, auth=auth, ssl_context=context)


def _context(url: str) -> ssl.SSLContext | None:
    return client_context(os.environ) if url.startswith("https:") else None


def _proxy(proxy: Proxy | None) -> httpcore.Proxy | None:
    if proxy is None:
        return None
    context = client_context(os.environ) if proxy.url.startswith("https:") else None
    return httpcore.Proxy(proxy.url, auth=proxy.auth, ssl_context=context)


class _Threads(httpx.BaseTransport):
    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        reply = self._pool.handle_request(_request(request, request.stream))
        return _response(reply, _Body(reply))

    def close(self) -> None:
        self._pool.close()


class _Tasks(httpx.AsyncBaseTransport):
    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = _Sent(await request.aread())
        reply = await self._pool.handle_async_request(_request(request, body))
        return _response(reply, _AsyncBody(reply))

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.SyncByteStream):
    def __init__(self, reply: httpcore.Response) -> None:
        self._reply = reply
        self._stream = reply.stream  # leads to its connection: see excess_bytes

    def __iter__(self) -> Iterator[bytes]:
        yield from self._reply.iter_stream()

    def close(self) -> None:
        self._reply.close()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, reply: httpcore.Response) -> None:
        self._reply = reply
        self._stream = reply.stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._reply.aiter_stream():
            yield piece

    async def aclose(self) -> None:
        await self._reply.aclose()


class _Sent:
    """A request's body. A generator would be left suspended if its task is cancelled."""

    def __init__(self, content: bytes) -> None:
        self._left = [content] if content else []

    def __aiter__(self) -> _Sent:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def _request(request: httpx.Request, body: Any) -> httpcore.Request:
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        ),
        headers=request.headers.raw,
        content=body,
        extensions=request.extensions,
    )


def _response(reply: httpcore.Response, body: Any) -> httpx.Response:
    return httpx.Response(
        status_code=reply.status, headers=reply.headers, stream=body, extensions=reply.extensions
    )
