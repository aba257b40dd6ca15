"""The ASGI middleware that gives each request an id, and each reply the same id.

It is the outermost layer of both servers. A client that sends a `nomos-call-id` gets that id in
the body of every JSON reply, where no proxy replaces it.
"""

from __future__ import annotations

import logging
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nomos._core import reply_identity
from nomos._core.http_rules import request_id as rule

log = logging.getLogger("nomos.server")


class RequestIdMiddleware:
    """Wraps an ASGI app; `request.state` has `request_id` and `call_id` for everything inside."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = rule.choose(headers.getlist(rule.HEADER), secrets.token_hex)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["call_id"] = reply_identity.call_id(headers.getlist(reply_identity.HEADER))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[rule.HEADER] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            log.info(
                "request %s: the client disconnected before its request was complete", request_id
            )
        except Exception:
            # The handler for exceptions has sent the reply, unless one had begun before.
            log.exception("request %s failed", request_id)
