"""The PDP as an ASGI application: its routes and the form of its replies.

Every reply is JSON, is never cached, and has an `x-request-id`: the caller's own, or a new one.
Errors are `{"error", "error_code", "request_id"}`, with `hop`, `fix` or `fields` where they are
known.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from nomos._protocol import Hello, Refused
from nomos.server.http.replies import error_reply, json_reply
from nomos.server.http.request_id import RequestIdMiddleware
from nomos.server.pdp.context import PdpContext
from nomos.server.pdp.gate import Gate
from nomos.server.pdp.request import read_body
from nomos.server.pdp.request_parsing import PdpRequest
from nomos.server.pdp.statuses import PdpError
from nomos.server.storage.failures import StorageUnavailable

log = logging.getLogger(__name__)

READY_SECONDS: Final = 2.0
CONTROL_PLANES: Final = ("/v1/", "/.well-known/nomos")
"""Beginnings of paths that only a control plane serves."""


def create_pdp(context: PdpContext) -> Starlette:
    """Return the PDP's application; if there is no lifespan, close `app.state.gate`."""
    gate = Gate(context)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await gate.open()
        yield
        await gate.close()

    async def healthz(request: Request) -> Response:
        return json_reply({"ok": True})

    async def readyz(request: Request) -> Response:
        missing = await _missing(context)
        body = {"ok": False, "error": missing} if missing else {"ok": True}
        return json_reply(body, 503 if missing else 200)

    app = Starlette(
        middleware=[Middleware(RequestIdMiddleware)],
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/{command:path}", _Calls(gate, context)),
        ],
        lifespan=lifespan,
    )
    app.state.gate = gate
    return app


class _Calls:
    """The endpoint of all commands, for any method: the gate checks the method."""

    def __init__(self, gate: Gate, context: PdpContext) -> None:
        self._gate = gate
        self._limits = context.limits
        self._control_url = context.control_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            self._check_place(_path(scope))
            response = json_reply(await self._gate.serve(self._asked(request)))
        except PdpError as refusal:
            response = error_reply(request, refusal)
        except ClientDisconnect:
            return
        except Exception:
            log.exception("request %s failed", request.state.request_id)
            message = "the PDP failed; its log has the cause under this request id"
            response = error_reply(request, PdpError("internal", message))
        await response(scope, receive, send)

    def _check_place(self, path: str) -> None:
        """Raise an error with the control plane's URL for a path that only it serves."""
        if not path.startswith(CONTROL_PLANES):
            return
        where = "" if self._control_url is None else f"; the control plane is {self._control_url}"
        raise PdpError(
            "not_found",
            f"this is a PDP, which performs calls{where}: set control_plane_url "
            "(NOMOS_CONTROL_URL) to the control plane's URL, and pdp_url (NOMOS_PDP_URL) to this",
        )

    def _asked(self, request: Request) -> PdpRequest:
        async def body(cap: int) -> bytes:
            return await read_body(request.stream(), cap, self._limits.body_seconds)

        return PdpRequest(
            method=request.method,
            path=_path(request.scope),
            query=request.scope["query_string"],
            authorization=tuple(request.headers.getlist("authorization")),
            content_type=request.headers.get("content-type"),
            body=body,
            request_id=request.state.request_id,
        )


def _path(scope: Scope) -> str:
    """Return the path as it was sent: commands contain no escaped characters."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
    return raw.partition(b"?")[0].decode("latin-1")


async def _missing(context: PdpContext) -> str | None:
    """Return what the PDP lacks to serve a call; None if it lacks nothing."""
    try:
        with anyio.fail_after(READY_SECONDS):
            try:
                if isinstance(await context.signer.ask(Hello()), Refused):
                    return "the signing binary rejected the health check"
            except TimeoutError:
                raise
            except Exception:
                log.exception("the signing binary is not ready")
                return "the signing binary does not answer"
            await context.store.ready()
            return await stale_revocations(context)
    except TimeoutError:
        return "not ready in time"
    except StorageUnavailable as failure:
        log.exception("the store is not ready")
        return f"no receipt can be stored: {failure}"
    except Exception:
        log.exception("the store is not ready")
        return "the store does not answer"


async def stale_revocations(context: PdpContext) -> str | None:
    """Return why the revocation view is too old for any call; None if it is not."""
    seen = await context.revocations.lookup((context.pdp_did,))
    if seen.age_seconds > context.limits.revocations_max_age:
        return seen.error or f"the view of revocations is {seen.age_seconds} seconds old"
    return "this PDP is revoked: no token for it is accepted" if seen.revoked else None
