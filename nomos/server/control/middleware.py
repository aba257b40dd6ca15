"""The outermost layer: each request has an id, and each failure has a reply.

The id is the caller's `x-request-id` if that is short and plain, so that one id can be followed
through several systems, and a new one otherwise. It goes back with every reply. A client that sends
a `nomos-call-id` gets that one in the body of every JSON reply, where no proxy replaces it.
"""

from __future__ import annotations

import logging
import re
import secrets
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nomos._core import reply_identity

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")

log = logging.getLogger("nomos.server")


class RequestIdMiddleware:
    """Wraps an ASGI app; `request.state.request_id` is there for everything inside."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["call_id"] = reply_identity.call_id(
            Headers(scope=scope).getlist(reply_identity.HEADER)
        )

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            log.info("request %s: the client left before its request was complete", request_id)
        except Exception:
            # The reply was sent by the handler for exceptions, if it was not under way before.
            log.exception("request %s failed", request_id)


def _request_id(sent: str | None) -> str:
    if sent is not None and REQUEST_ID.fullmatch(sent):
        return sent
    return f"req_{secrets.token_hex(12)}"
