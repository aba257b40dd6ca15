"""Network connections for httpx whose steps all end at one deadline.

httpx limits each step of a request, so a reply that arrives one byte at a time would never time
out. Here the `timeout` of each step is a point in time, by `time.monotonic`, and the same for all
steps of a request: name lookup, connecting, TLS, each write and each read. Tasks have cancel scopes
for that; threads need sockets that check the clock.

`localhost` is not looked up: it is 127.0.0.1, and then ::1.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any, ClassVar, Final, TypeVar

import anyio
import httpcore

CONNECT_SECONDS: Final = 3.0  # for name lookup and connecting, all addresses together
RECORD: Final = 16 * 1024
LOOPBACK: Final = ("127.0.0.1", "::1")
MAX_ADDRESSES: Final = 8

T = TypeVar("T")


class TimedBackend(httpcore.NetworkBackend):
    """Connects for threads; its connections keep to deadlines."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        end = time.monotonic() + CONNECT_SECONDS
        end = end if timeout is None else min(end, timeout)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        addresses = _addresses(host, port, end)
        for number, address in enumerate(addresses):
            # Each address has a share of the time, because the first one may not respond.
            share = _left(end, httpcore.ConnectTimeout) / (len(addresses) - number)
            try:
                sock = socket.create_connection((address, port), share)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return Stream(sock, timeout)
            except TimeoutError:
                failure = httpcore.ConnectTimeout("no connection in time")
            except OSError as error:
                failure = httpcore.ConnectError(error.strerror or str(error))
        raise failure


class Stream(httpcore.NetworkStream):
    """A socket on which every wait ends at a given point in time.

    Steps without a deadline of their own, as those of a SOCKS proxy, have that of the connection.
    `until` replaces the deadline of the current request until the next write.
    """

    def __init__(self, sock: socket.socket, end: float | None) -> None:
        self._sock = sock
        self._end = end
        self.until: float | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._wait(self._moment(timeout), httpcore.ReadTimeout)
        return _mapped(lambda: self._sock.recv(max_bytes), httpcore.ReadTimeout, httpcore.ReadError)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.until = None
        rest = memoryview(buffer)
        while rest:
            self._wait(self._moment(timeout), httpcore.WriteTimeout)
            sent = _mapped(
                lambda rest=rest: self._sock.send(rest),  # type: ignore[misc]
                httpcore.WriteTimeout,
                httpcore.WriteError,
            )
            rest = rest[sent:]

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return TlsStream(self, ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "is_readable":
                return _is_readable(self._sock)
            case "socket":
                return self._sock
            case "client_addr":
                return self._sock.getsockname()
            case "server_addr":
                return self._sock.getpeername()
        return None

    def _moment(self, timeout: float | None) -> float | None:
        if self.until is not None:
            return self.until
        return self._end if timeout is None else timeout

    def _wait(self, end: float | None, late: type[Exception]) -> None:
        self._sock.settimeout(None if end is None else _left(end, late))


class TlsStream(httpcore.NetworkStream):
    """TLS over any stream, in memory: `ssl` would restart the timeout with each record."""

    def __init__(
        self,
        under: httpcore.NetworkStream,
        context: ssl.SSLContext,
        hostname: str | None,
        timeout: float | None,
    ) -> None:
        self._under = under
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ended = False
        try:
            self._object = context.wrap_bio(
                self._incoming, self._outgoing, server_hostname=hostname
            )
            self._run(self._object.do_handshake, timeout)
        except (ssl.SSLError, ValueError, httpcore.ReadError, httpcore.WriteError) as error:
            under.close()
            raise httpcore.ConnectError(str(error)) from error
        except httpcore.TimeoutException as error:
            under.close()
            raise httpcore.ConnectTimeout("the TLS handshake timed out") from error
        except BaseException:
            under.close()
            raise

    @property
    def until(self) -> float | None:
        until: float | None = getattr(self._under, "until", None)
        return until

    @until.setter
    def until(self, moment: float | None) -> None:
        self._under.until = moment  # type: ignore[attr-defined]

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return self._run(lambda: self._object.read(max_bytes), timeout)
        except ssl.SSLError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest = memoryview(buffer)
        try:
            while rest:
                sent = self._run(lambda rest=rest: self._object.write(rest), timeout)  # type: ignore[misc]
                rest = rest[sent:]
        except ssl.SSLError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._under.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return TlsStream(self, ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        return self._object if info == "ssl_object" else self._under.get_extra_info(info)

    def _run(self, act: Callable[[], T], timeout: float | None) -> T:
        """Perform one TLS operation, sending and receiving what it needs."""
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                self._flush(timeout)
                if self._ended:
                    raise ssl.SSLEOFError(8, "the connection ended during TLS") from None
                received = self._under.read(RECORD, timeout)
                self._ended = not received
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
            else:
                self._flush(timeout)
                return done

    def _flush(self, timeout: float | None) -> None:
        if self._outgoing.pending:
            self._under.write(self._outgoing.read(), timeout)


class LoopBackend(httpcore.AsyncNetworkBackend):
    """Connects for tasks, under asyncio and trio; their cancel scopes limit the time."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if host != "localhost":
            return LoopStream(await self._backend.connect_tcp(host, port, timeout))
        first, second = LOOPBACK
        try:
            return LoopStream(await self._backend.connect_tcp(first, port, timeout))
        except httpcore.ConnectError:
            return LoopStream(await self._backend.connect_tcp(second, port, timeout))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class LoopStream(httpcore.AsyncNetworkStream):
    """A connection of tasks that is closed if its TLS handshake is cancelled."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            return LoopStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(end: float, late: type[Exception]) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise late("time is up")
    return left


def _mapped(act: Callable[[], T], late: type[Exception], broken: type[Exception]) -> T:
    try:
        return act()
    except TimeoutError as error:
        raise late("time is up") from error
    except OSError as error:
        raise broken(error.strerror or str(error)) from error


def _is_readable(sock: socket.socket) -> bool:
    """Whether an idle connection was closed by its peer, or has received unrequested bytes."""
    try:
        sock.settimeout(0)
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _addresses(host: str, port: int, end: float) -> list[str]:
    """Return the addresses of a host. A lookup cannot be cancelled, so a thread performs it."""
    if host == "localhost":
        return list(LOOPBACK)
    try:
        ip_address(host)
    except ValueError:
        return _Lookup.of(host, port).wait(end)[:MAX_ADDRESSES]
    return [host]


class _Lookup:
    """The lookup of one name, shared by all callers that wait for it: one thread per name."""

    _under_way: ClassVar[dict[str, _Lookup]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, host: str) -> None:
        self._host = host
        self._found: list[str] = []
        self._failure: Exception | None = None
        self._done = threading.Event()

    @classmethod
    def of(cls, host: str, port: int) -> _Lookup:
        """Return the lookup of a name that is in progress, or start one."""
        with cls._lock:
            lookup = cls._under_way.get(host)
            if lookup is None:
                lookup = cls._under_way[host] = cls(host)
                thread = threading.Thread(
                    target=lookup._run, args=(port,), name="nomos-lookup", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError as error:
                    del cls._under_way[host]
                    raise httpcore.ConnectError(
                        f"no thread could be started to look {host} up"
                    ) from error
            return lookup

    def wait(self, end: float) -> list[str]:
        if not self._done.wait(max(0.0, end - time.monotonic())):
            raise httpcore.ConnectTimeout(f"the lookup of {self._host} timed out")
        if self._failure is not None:
            raise httpcore.ConnectError(f"{self._host} cannot be looked up: {self._failure}")
        return self._found

    @classmethod
    def after_fork(cls) -> None:
        """Reset the state in a forked child, which does not have the parent's threads."""
        cls._lock = threading.Lock()
        cls._under_way.clear()

    def _run(self, port: int) -> None:
        try:
            found = socket.getaddrinfo(self._host, port, type=socket.SOCK_STREAM)
            self._found = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        except (OSError, UnicodeError) as error:
            self._failure = error
        finally:
            with self._lock:
                if self._under_way.get(self._host) is self:
                    del self._under_way[self._host]
            self._done.set()


os.register_at_fork(after_in_child=_Lookup.after_fork)
