"""HTTP providers: one request to the upstream, and its redacted JSON reply.

The path comes from the command's template. A value fills one place in it, percent-encoded, so none
can add a segment, a query or a host; nor can one hold a separator that an upstream might find by
decoding, except those of a `path`. The built URL is compared with the one that the HTTP library is
about to send. The request is made on a bare transport: no redirects are followed, no cookies are
kept, no netrc file is read, nothing is retried; https goes through the proxy of the environment, if
there is one (`nomos._io.proxies`). Each request has a connection of its own: upstreams do not
repeat an id of the request, so bytes left over on a connection could not be distinguished from the
reply to the next request.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote, urlencode

import anyio
import anyio.to_thread

from nomos._core import retry
from nomos._core.effects import HttpReply
from nomos._io import excess_bytes, failures
from nomos.errors import ConfigurationError
from nomos.resources import CommandSpec
from nomos.server.domain.redaction import redact
from nomos.server.pdp.context import Action, PdpLimits
from nomos.server.pdp.credentials import UpstreamCredential, resolve
from nomos.server.pdp.request import Rebuilt
from nomos.server.pdp.statuses import PdpError, invalid, unavailable
from nomos.server.settings import UpstreamTarget, variable_of

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS: Final = 5.0
CONNECTIONS: Final = 512
MOST_LOGGED: Final = 64
MAX_RETRY_AFTER: Final = 86_400
_OUTCOME_UNKNOWN: Final = ". It may have been done: check the upstream before you retry"
_PLACE: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")


log = logging.getLogger("nomos.server")


@dataclass(frozen=True)
class Outgoing:
    """One upstream request, before the credential is added."""

    method: str
    path: str
    query: str
    body: bytes | None


def outgoing(call: Rebuilt) -> Outgoing:
    """Return the upstream request of a call. Pure. Raises an error if a value would be left out."""
    command, upstream = call.command, call.command.upstream
    if upstream is None:
        raise PdpError("not_found", f"{command.name} is not served by this PDP")
    values = {**call.call.resource, **call.values}
    placed = set(_PLACE.findall(upstream.path))
    path = _PLACE.sub(lambda place: _encoded(place[1], values, call), upstream.path)
    *inner, last = path.split("/")[1:]
    if "" in inner or not {".", ".."}.isdisjoint((*inner, last)):
        raise _not_a_segment("resource")

    # A field that does not reach the upstream would not limit the call that it was signed for.
    lost = [name for name in call.call.resource if name != "provider" and name not in placed]
    if lost:
        raise invalid(
            f"{command.name} cannot be limited by {lost[0]} at this upstream: omit it",
            *(f"resource.{name}" for name in lost),
        )
    rest = {name: value for name, value in call.values.items() if name not in placed}
    query = [(n, _plain(v)) for n, v in rest.items() if command.args[n].place == "query"]
    body = {n: v for n, v in rest.items() if command.args[n].place == "body"}
    has_body = upstream.method not in ("GET", "DELETE")
    return Outgoing(
        upstream.method,
        path,
        urlencode(query, quote_via=quote, safe=""),
        json.dumps(body).encode("ascii") if has_body else None,
    )


class HttpProvider:
    """The declared HTTP providers of this PDP."""

    def __init__(self, targets: Mapping[str, UpstreamTarget], limits: PdpLimits) -> None:
        self._targets = targets
        self._limits = limits
        self._transports: dict[tuple[str, str | None], httpx.AsyncHTTPTransport] = {}
        self._logged: set[str] = set()

    def serves(self, command: CommandSpec) -> bool:
        return command.upstream is not None

    async def open(self) -> None:
        """Connections are made when they are needed."""

    async def prepare(self, call: Rebuilt) -> Action:
        """Return the call, ready to be sent. Raises for a missing setting or an invalid value."""
        request = self._request(outgoing(call), resolve(call.provider.name, self._targets))
        return functools.partial(self._exchange, request, call)

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.aclose()

    def _request(self, what: Outgoing, where: UpstreamCredential) -> httpx.Request:
        import httpx

        base = httpx.URL(where.base_url)
        query = f"?{what.query}" if what.query else ""
        target = base.raw_path.rstrip(b"/") + f"{what.path}{query}".encode("ascii")
        url = base.copy_with(raw_path=target)
        if url.raw_path != target or url.netloc != base.netloc or url.scheme != base.scheme:
            raise _not_a_segment("resource")
        headers = {
            "accept": "application/json",
            # Compressed replies could grow beyond their limit while being read.
            "accept-encoding": "identity",
            "user-agent": "nomos-pdp",
            "authorization": f"Bearer {where.token.reveal()}",
        }
        if what.body is not None:
            headers["content-type"] = "application/json"
        timeout = httpx.Timeout(self._limits.upstream_seconds, connect=CONNECT_SECONDS)
        return httpx.Request(
            what.method,
            url,
            headers=headers,
            content=what.body,
            extensions={"timeout": timeout.as_dict()},
        )

    async def _exchange(self, request: httpx.Request, call: Rebuilt) -> dict[str, Any]:
        try:
            with anyio.fail_after(self._limits.upstream_seconds):
                async with self._sent(request, call) as reply:
                    _check_status(reply, call)
                    content = await self._content(reply, call)
        except TimeoutError:
            raise _timed_out(call) from None
        secret = request.headers["authorization"].removeprefix("Bearer ")
        # Parsing and redacting megabytes would delay other calls, so it runs in a thread.
        return await anyio.to_thread.run_sync(_result, content, call, secret)

    @asynccontextmanager
    async def _sent(self, request: httpx.Request, call: Rebuilt) -> AsyncIterator[httpx.Response]:
        import httpx

        transport = await self._transport(call.provider.name)
        try:
            reply = await transport.handle_async_request(request)
            try:
                yield reply
            finally:
                await reply.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            setting = variable_of(call.provider.name, "CA_FILE")
            raise self._unreached(call, failures.reason(error, ca_setting=setting)) from None
        except httpx.ProxyError as error:
            raise self._unreached(call, failures.reason(error)) from None
        except httpx.TimeoutException:
            raise _timed_out(call) from None
        except httpx.HTTPError:
            raise _failed(call, "did not reply in HTTP") from None

    def _unreached(self, call: Rebuilt, why: str) -> PdpError:
        self._log_once(f"the upstream {call.provider.name} cannot be reached: {why}")
        return _failed(call, f"cannot be reached: {why}", sent=False)

    async def _transport(self, provider: str) -> httpx.AsyncHTTPTransport:
        """Return a provider's transport. It reads certificates, so it is made in a thread."""
        from nomos._io.transports import server_transport

        where = resolve(provider, self._targets)
        way = (where.base_url, where.ca_file)
        found = self._transports.get(way)
        if found is not None:
            return found
        make = functools.partial(
            server_transport,
            where.base_url,
            connections=CONNECTIONS,
            kept=0,
            ca_file=where.ca_file,
            ca_setting=variable_of(provider, "CA_FILE"),
        )
        try:
            made = await anyio.to_thread.run_sync(make)
        except ConfigurationError as wrong:
            self._log_once(f"the upstream {provider} cannot be called: {wrong}")
            raise unavailable(f"the provider {provider} cannot be called: {wrong}") from None
        # Another call may have been faster; an unused transport holds nothing.
        return self._transports.setdefault(way, made)

    def _log_once(self, sentence: str) -> None:
        if sentence not in self._logged and len(self._logged) < MOST_LOGGED:
            self._logged.add(sentence)
            log.warning("%s", sentence)

    async def _content(self, reply: httpx.Response, call: Rebuilt) -> bytes:
        import httpx

        if reply.headers.get("content-encoding", "identity").lower() != "identity":
            raise _failed(call, "sent a compressed reply, although the request excluded that")
        content = bytearray()
        assert isinstance(reply.stream, httpx.AsyncByteStream), "the transport is asynchronous"
        async for chunk in reply.stream:
            content += chunk
            if len(content) > self._limits.upstream:
                raise _failed(call, f"sent a reply of more than {self._limits.upstream} bytes")
        if excess_bytes.state_after(reply) == "left over":
            raise _failed(call, "sent more than one reply, and it is unknown which one is right")
        return bytes(content)


def _encoded(name: str, values: Mapping[str, Any], call: Rebuilt) -> str:
    """Return one value encoded for a path; only a `path` keeps its slashes."""
    if name not in values:
        raise invalid(f"{call.command.name} needs {name}", f"resource.{name}")
    text = _plain(values[name])
    # An argument may have the name of a field that this command does not have.
    of_resource = name in call.call.resource
    if of_resource and call.provider.fields[name].type == "path":
        return quote(text, safe="/")
    where = f"resource.{name}" if of_resource else f"args.{name}"
    if text in ("", ".", ".."):
        raise _not_a_segment(where)
    if "/" in text or "\\" in text:
        # Encoded, it is one segment; an upstream or a proxy that decodes first would see two.
        raise invalid(
            f"{where} contains a / or a \\, which is not possible in this upstream's path", where
        )
    return quote(text, safe="")


def _plain(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return ",".join(str(item) for item in value)
        case _:
            return str(value)


def _check_status(reply: httpx.Response, call: Rebuilt) -> None:
    status, after = reply.status_code, _retry_after(reply)
    if 200 <= status < 300:
        return
    if status == 429 or (status == 403 and _is_limit(reply)):
        raise PdpError(
            "rate_limited",
            f"{call.provider.name} accepts no more calls of this PDP for now (status {status})",
            headers=after,
        )
    if status == 404:
        raise PdpError(
            "not_found",
            f"{call.provider.name} answered 404: it does not exist, or the PDP's credential may "
            "not read it",
        )
    if 300 <= status < 400:
        raise _failed(call, f"answered {status}, a redirect, and redirects are not followed")
    # A 4xx means that the upstream did not do it; after any other status that is unknown.
    failed = _failed(call, f"answered {status}", sent=status >= 500)
    failed.headers.update(after if status == 503 else {})
    raise failed


def _retry_after(reply: httpx.Response) -> dict[str, str]:
    """Return `Retry-After` in seconds as a header, if the upstream sent one that can be read."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    seconds = retry.retry_after(HttpReply(reply.status_code, headers, b"", time.time()))
    if seconds is None:
        return {}
    return {"retry-after": str(min(math.ceil(seconds), MAX_RETRY_AFTER))}


def _is_limit(reply: httpx.Response) -> bool:
    """Return whether a 403 means too many calls, as GitHub sends it, and not a permission."""
    return "retry-after" in reply.headers or reply.headers.get("x-ratelimit-remaining") == "0"


def _result(content: bytes, call: Rebuilt, secret: str) -> dict[str, Any]:
    """Return the reply's JSON object: redacted, and named as the command says."""
    upstream = call.command.upstream
    name = upstream.result if upstream is not None else None
    try:
        answer = json.loads(
            content.decode("utf-8") if content else "{}",
            parse_constant=_not_json,
            parse_float=_finite,
        )
    except (ValueError, RecursionError):
        raise _failed(call, "did not reply in JSON") from None
    clean = redact(answer, (secret,))
    if name is None and isinstance(clean, dict):
        return clean
    return {name or "result": clean}


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_json(text)


def _not_json(text: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _not_a_segment(field: str) -> PdpError:
    return invalid(
        "a value is empty, `.` or `..`, which is not possible in an upstream's path", field
    )


def _failed(call: Rebuilt, what: str, *, sent: bool = True) -> PdpError:
    hint = _OUTCOME_UNKNOWN if sent and call.command.risk != "read" else ""
    return PdpError("upstream_error", f"{call.provider.name} {what}{hint}")


def _timed_out(call: Rebuilt) -> PdpError:
    hint = _OUTCOME_UNKNOWN if call.command.risk != "read" else ""
    return PdpError("upstream_timeout", f"{call.provider.name} did not answer in time{hint}")
