"""HTTP for the guards. The one file of the SDK that imports httpx, and only on first use.

Both clients turn whatever goes wrong on the way into `Unreachable`, bound the time and the
size of an answer, follow no redirect, and add the API key last, so that no flow ever holds it.
A client belongs to the process that made it: after `fork()` the child makes its own.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from nomos._core.effects import HttpReply, Send
from nomos.errors import ConfigurationError, Unintelligible, Unreachable
from nomos.models import Secret

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS: Final = 3.0
MAX_REPLY: Final = 4 * 1024 * 1024

AT_ONCE: Final = 16
"""Requests that one client has under way. httpx's connection pool looks at every connection for
every request, so fifty at once cost twice the processor time of sixteen and are no faster."""


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

    def headers(self, send: Send) -> dict[str, str]:
        own = {"authorization": f"Bearer {self.api_key.reveal()}"} if self.api_key else {}
        return {**send.headers, **own}

    def options(self) -> dict[str, Any]:
        import httpx

        return {
            "timeout": httpx.Timeout(self.timeout, connect=min(CONNECT_SECONDS, self.timeout)),
            "follow_redirects": False,
            "trust_env": not self.direct,
        }


class Http:
    """Sends from threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client: tuple[int, httpx.Client] | None = None

    def send(self, send: Send) -> HttpReply:
        import httpx

        client, end = self._own(), time.monotonic() + self._endpoint.timeout
        try:
            with client.stream(
                send.method,
                self._endpoint.url + send.path,
                headers=self._endpoint.headers(send),
                content=send.body,
            ) as response:
                body = bytearray()
                _bound_announced(response.headers)
                for chunk in response.iter_bytes():
                    body += chunk
                    _bound(body, late=time.monotonic() > end, timeout=self._endpoint.timeout)
                return _reply(response.status_code, response.headers, body)
        except httpx.HTTPError as error:
            raise _unreachable(self._endpoint, error) from error

    def _own(self) -> httpx.Client:
        import httpx

        held = self._client
        if held is None or held[0] != os.getpid():
            held = self._client = (os.getpid(), httpx.Client(**self._endpoint.options()))
            weakref.finalize(self, _close, *held)
        return held[1]

    def close(self) -> None:
        held, self._client = self._client, None
        if held is not None:
            _close(*held)


class AsyncHttp:
    """Sends from tasks, under asyncio and trio, with one client per running loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._clients: anyio.lowlevel.RunVar[_LoopClient] = anyio.lowlevel.RunVar(
            f"nomos-http-{id(self)}"
        )

    async def send(self, send: Send) -> HttpReply:
        import httpx

        own = await self._own()
        async with own.turn:
            try:
                with anyio.fail_after(self._endpoint.timeout):
                    return await self._exchange(own.client, send)
            except (httpx.HTTPError, TimeoutError) as error:
                raise _unreachable(self._endpoint, error) from error

    async def _exchange(self, client: httpx.AsyncClient, send: Send) -> HttpReply:
        async with client.stream(
            send.method,
            self._endpoint.url + send.path,
            headers=self._endpoint.headers(send),
            content=send.body,
        ) as response:
            body = bytearray()
            _bound_announced(response.headers)
            async for chunk in response.aiter_bytes():
                body += chunk
                _bound(body, late=False, timeout=self._endpoint.timeout)
            return _reply(response.status_code, response.headers, body)

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
        self.client = httpx.AsyncClient(**options)
        self.turn = anyio.CapacityLimiter(AT_ONCE)
        self._open = self._until_the_loop_ends()

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


def checked_url(url: str, *, setting: str) -> str:
    """Return a base URL without its trailing slash; raises `ConfigurationError` for any other.

    The message does not repeat the URL, which may hold a password.
    """
    if not _is_url(url):
        raise ConfigurationError(
            f"{setting} must be an http(s) URL such as https://nomos.example.com, without a user "
            "name, password, query or fragment",
            setting=setting,
        )
    return url.rstrip("/")


def _is_url(url: object) -> bool:
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and port != 0
        and "@" not in parts.netloc
        and not (parts.query or parts.fragment)
    )


def _close(owner: int, client: httpx.Client) -> None:
    if owner == os.getpid():
        client.close()


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


def _unreachable(endpoint: Endpoint, error: Exception) -> Unreachable:
    what = (
        f"did not answer within {endpoint.timeout:g} s"
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
        else f"cannot be reached: {error or type(error).__name__}"
    )
    known = endpoint.trouble()
    if known is not None:
        return Unreachable(known)
    return Unreachable(
        f"the control plane at {endpoint.url} {what}. "
        "Is it running, and is control_plane_url right?"
    )
