"""`NomosMiddleware`: ASGI middleware that rejects requests without the token of their rule."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from nomos.errors import ConfigurationError
from nomos.integrations import _refusals
from nomos.integrations._bodies import MAX_BODY, ReplayableBody
from nomos.integrations._paths import Rule, RuleTable, normalize_root_path
from nomos.integrations._proof import (
    VERIFIED_CALLS,
    AnyVerifier,
    check_verifier,
    internal,
    request_id_of,
)
from nomos.integrations._refusals import CallRefused

log = logging.getLogger(__name__)

POLICY_VIOLATION: Final = 1008
"""The close code of a rejected websocket (RFC 6455, section 7.4.1)."""


class NomosMiddleware:
    """ASGI middleware for FastAPI and Starlette: deny by default.

        app.add_middleware(NomosMiddleware, rules=[
            Rule("GET", "/repos/{owner}/{repo}/issues", command="/github/issue/list",
                 resource={"provider": "github", "owner": "{owner}", "repo": "{repo}"}),
        ], open_paths=["/healthz"])

    Args:
        app: the application; `add_middleware` passes it.
        rules: the rules, in order. The first match counts; a request without a match is rejected.
        open_paths: paths that need no token, in the syntax of rules. None may match a rule's path.
        verifier: a `Verifier` or `AsyncVerifier`. By default `app.state.nomos`, at each request.
        max_body: the maximum size in bytes of a body that functions of the request may read. The
            application reads the same body again.

    `request.state.nomos` is the `Verified` of an accepted request. A rejected request is answered
    with `{"error", "error_code", …}` and a challenge (RFC 6750, section 3). A rejected websocket is
    answered in the same way if the server can do so, and otherwise closed with code 1008.

    Raises `ConfigurationError` for rules that contradict each other, for an invalid verifier, and
    for an application that has a root path of its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: Iterable[Rule],
        open_paths: Iterable[str] = (),
        verifier: AnyVerifier | None = None,
        max_body: int = MAX_BODY,
    ) -> None:
        if _has_root_path(app):
            # It would route another path than the one that is checked here.
            raise ConfigurationError(
                "an application with a root_path needs the middleware inside, "
                "app.add_middleware(NomosMiddleware, ...), and cannot be mounted in another",
                setting="app",
            )
        check_verifier(verifier)
        self._app = app
        self._rules = RuleTable(rules, open_paths)
        self._verifier = verifier
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(f"unknown scope type {scope['type']!r}; the connection is rejected")
        request_id_of(scope)  # before the scope is copied, so that all copies have the same
        body = ReplayableBody(receive, self._max_body)
        try:
            inner = await self._authorize(scope, body)
        except ClientDisconnect:
            return
        except CallRefused as refusal:
            await _send_refusal(refusal, scope, receive, send)
            return
        except HTTPException as error:
            await _send_http_error(error, scope, receive, send)
            return
        except Exception:
            log.exception("a request could not be checked (request %s)", request_id_of(scope))
            await _send_refusal(internal(), scope, receive, send)
            return
        await self._app(inner, body.replay, send)

    async def _authorize(self, scope: Scope, body: ReplayableBody) -> Scope:
        """Return the scope for the application. Raises CallRefused if the request is rejected."""
        match = self._rules.required_call(scope)
        scope = normalize_root_path(scope)
        if match is None:
            return scope
        needed, params = match
        seen: Scope = {**scope, "path_params": params}
        seen.setdefault(VERIFIED_CALLS, [])
        connection = Request(seen, body.receive) if _is_http(scope) else HTTPConnection(seen)
        verified = await needed.verify(connection, self._verifier)
        body.check()
        # A new dictionary: a server may share one among all requests.
        state = {**scope.get("state", {}), "nomos": verified}
        return {**scope, "state": state, VERIFIED_CALLS: seen[VERIFIED_CALLS]}


def _has_root_path(app: object) -> bool:
    """Return whether an application has a root path of its own, wrapped or mounted in another."""
    seen: dict[int, object] = {}  # kept, so that no other object gets the same id
    left = [app]
    while left:
        one = left.pop()
        if getattr(one, "root_path", ""):
            return True
        if id(one) not in seen:
            seen[id(one)] = one
            left += [getattr(one, "app", None), *(getattr(one, "routes", None) or ())]
    return False


async def _send_refusal(refusal: CallRefused, scope: Scope, receive: Receive, send: Send) -> None:
    request_id = request_id_of(scope)
    response = JSONResponse(
        _refusals.body(refusal, request_id),
        refusal.status,
        headers=_refusals.headers(refusal, request_id),
    )
    await _send_response(response, refusal.code, scope, receive, send)


async def _send_http_error(
    error: HTTPException, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send the HTTPException of a function of the request, as the framework would."""
    response = JSONResponse(
        {"detail": error.detail},
        max(error.status_code, 400),
        headers={**(error.headers or {}), "cache-control": "no-store"},
    )
    await _send_response(response, "invalid_request", scope, receive, send)


async def _send_response(
    response: Response, reason: str, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send a response. If the server cannot send one to a websocket, close it: that is a 403."""
    if _is_http(scope) or "websocket.http.response" in scope.get("extensions", {}):
        await response(scope, receive, send)
    else:
        await WebSocketClose(POLICY_VIOLATION, reason)(scope, receive, send)


def _is_http(scope: Scope) -> bool:
    return bool(scope["type"] == "http")
