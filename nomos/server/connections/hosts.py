"""The `Host` values that requests may name: protection against DNS rebinding.

A page of another site can make its own host name resolve to this machine. A browser then sends
requests here that count as that site's. They name that site as `Host`, so they are rejected.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from nomos._core.http_rules.errors import RequestError, error_body
from nomos._core.http_rules.request_id import HEADER, choose
from nomos.errors import ConfigurationError

SETTING: Final = "NOMOS_HOST_NAMES"
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*")
MAX_NAMES: Final = 100


class AllowedHosts:
    """An ASGI application that refuses requests for other hosts (421) before `app` sees them.

    Allowed are this machine's loopback names, the address that the client connected to, and
    `names`, each with any port. A request of HTTP/1.0 may name none.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._allows(scope):
            await _refuse(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == b"host"]
        if not sent:
            return bool(scope["http_version"] == "1.0")
        found = _HOST.fullmatch(sent[0].decode("latin-1").lower())
        if found is None or len(sent) > 1:
            return False
        host = found[1].strip("[]")
        server = scope.get("server")
        return is_loopback(host) or host in self._names or bool(server and host == server[0])


def is_loopback(host: str) -> bool:
    """Return whether this is `localhost` or a loopback address in its usual spelling."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_names(given: Iterable[str], *urls: str) -> tuple[str, ...]:
    """Return the given hosts, and those of this server's URLs. Raises ConfigurationError."""
    names = []
    for text in given:
        name = text.strip().lower()
        if not (_NAME.fullmatch(name) or _is_address(name)) or len(name) > 253:
            raise ConfigurationError(
                f"{ascii(text)[:80]} is not a host name: give names or addresses without "
                f"scheme, port or wildcard (--host-name, or {SETTING} with commas between them)",
                setting=SETTING,
            )
        names.append(name.strip("[]"))
    if len(names) > MAX_NAMES:
        raise ConfigurationError(f"more than {MAX_NAMES} host names", setting=SETTING)
    own = [host for url in urls if (host := urlsplit(url).hostname)]
    return tuple(dict.fromkeys([*names, *own]))


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    message = (
        "the host that the request names is not one of this server's: use one of its names, or "
        f"have its operator allow this one (--host-name, or {SETTING})"
    )
    error = RequestError("invalid_request", message, status=421)
    request_id = choose(Headers(scope=scope).getlist(HEADER), secrets.token_hex)
    content = json.dumps(error_body(error, request_id))
    headers = {"cache-control": "no-store", "connection": "close", HEADER: request_id}
    response = Response(content, error.status, headers, "application/json")
    await response(scope, receive, send)
