"""The table of routes, and `create_control`, which makes the ASGI app from it.

A route names the roles that may call it; None means anyone. The app serves this table and the
document made from it (`/openapi.json`), which anyone may read.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, Final

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from nomos._core.http_rules.errors import RequestError
from nomos._core.reply_identity import echoed
from nomos._limits import MAX_BODY_WITH_CHAIN
from nomos.errors import InvalidRequest
from nomos.resources import provider_name
from nomos.server.control import (
    approvals,
    apps,
    audit,
    body,
    discovery,
    errors,
    invocation_auth,
    keys,
    login,
    openapi,
    permissions,
    policies,
    revocations,
    services,
    swarm,
)
from nomos.server.control.authorize import authorize
from nomos.server.control.batch import BatchReply, BatchRequest, authorize_batch
from nomos.server.control.context import Context
from nomos.server.control.credentials import authenticate, check_url
from nomos.server.control.errors import ControlError, invalid
from nomos.server.control.invocation_auth import is_invocation
from nomos.server.control.messages import AuthorizeReply, AuthorizeRequest
from nomos.server.control.route import Route, route
from nomos.server.domain.accounts import ApiKey
from nomos.server.http.replies import error_reply, json_reply
from nomos.server.http.request_id import RequestIdMiddleware
from nomos.server.http.routes import Endpoint, create_app, exact_route
from nomos.server.storage.api_keys import KeyEnded
from nomos.server.storage.damaged_rows import Damaged
from nomos.server.storage.database import StorageUnavailable

MAX_KEY: Final = 256
OPENAPI_PATH: Final = "/openapi.json"

log = logging.getLogger("nomos.server")


@route(
    "POST",
    "/v1/authorize",
    ("agent",),
    AuthorizeReply,
    accepts=AuthorizeRequest,
    headers=(openapi.IDEMPOTENCY_KEY,),
    refuses=(409, 429),
    holder=invocation_auth.identify,
)
async def post_authorize(context: Context, request: Request, caller: ApiKey) -> dict[str, Any]:
    """Decide whether an agent may do something; an allow contains the delegation for it."""
    key = _idempotency_key(request.headers.getlist("idempotency-key"))
    content = await body.read(request, MAX_BODY_WITH_CHAIN)
    request_id: str = request.state.request_id
    return await authorize(context, caller, content, key=key, request_id=request_id)


@route(
    "POST",
    "/v1/authorize/batch",
    ("agent",),
    BatchReply,
    accepts=BatchRequest,
    headers=(openapi.IDEMPOTENCY_KEY,),
    refuses=(429,),
)
async def post_batch(context: Context, request: Request, caller: ApiKey) -> dict[str, Any]:
    """Decide 1 to 100 questions; each has its own answer, receipt, or error in its place."""
    key = _idempotency_key(request.headers.getlist("idempotency-key"))
    content = await body.read(request, MAX_BODY_WITH_CHAIN)
    state = request.state
    return await authorize_batch(
        context, caller, content, key=key, request_id=state.request_id, still=state.still
    )


ROUTES: Final = (
    post_authorize,
    post_batch,
    discovery.well_known,
    *keys.ROUTES,
    *revocations.ROUTES,
    *audit.ROUTES,
    *swarm.ROUTES,
    *services.ROUTES,
    *policies.ROUTES,
    discovery.healthy,
    discovery.ready,
    *approvals.ROUTES,
    *apps.ROUTES,
    *login.ROUTES,
)


def create_control(context: Context, pages: Sequence[Route] = ()) -> ASGIApp:
    """Return the control plane as an ASGI app, with the pages for sign-in and approvals."""
    served = [
        exact_route(route.method, route.path, _endpoint(context, route))
        for route in (*ROUTES, *pages)
    ]
    app = create_app([exact_route("GET", OPENAPI_PATH, _document(context)), *served], _HANDLERS)
    app.state.context = context
    return RequestIdMiddleware(app)


def _document(context: Context) -> Endpoint:
    """Return the endpoint of the OpenAPI document, which is built on first use."""

    @cache
    def text() -> bytes:
        found = openapi.document(ROUTES, version=context.version, url=context.control_url)
        return json.dumps(found, separators=(",", ":")).encode()

    async def endpoint(request: Request) -> Response:
        return Response(await asyncio.to_thread(text), media_type="application/json")

    return endpoint


def _endpoint(context: Context, route: Route) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        caller = None
        if route.roles is not None:
            check_url(request.scope["query_string"])
            sent = request.headers.getlist("authorization")
            if route.holder is not None and is_invocation(sent):
                caller = await route.holder(context, request, sent[0])
                request.state.still = partial(invocation_auth.check_app, context, caller)
                if hasattr(request.state, "body"):
                    await request.state.still()
            else:
                request.state.still = partial(authenticate, context.store, sent, route.roles)
                caller = await request.state.still()
            if route.act is not None:
                act, kind = route.act
                permissions.check(caller, act, permissions.PermissionTarget(kind, route.path))
        answer = await route.handler(context, request, caller)
        if isinstance(answer, Response):
            return answer
        if isinstance(answer, BaseModel):
            answer = answer.model_dump(by_alias=True, exclude_none=True)
        return json_reply(answer | echoed(request.state.call_id))

    return endpoint


def _idempotency_key(sent: Sequence[str]) -> str | None:
    if not sent:
        return None
    key = sent[0]
    if len(sent) > 1 or not 0 < len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        raise invalid(
            "Idempotency-Key", f"must be one value of 1 to {MAX_KEY} printable ASCII characters"
        )
    return key


async def _error(request: Request, failure: Exception) -> Response:
    """Answer an exception of a handler or of the framework."""
    match failure:
        case RequestError():
            return error_reply(request, failure)
        case InvalidRequest():
            error = ControlError("invalid_request", str(failure), fields=failure.fields)
        case KeyEnded():
            error = ControlError("invalid_api_key", str(failure))
        case HTTPException():
            error = _http(request, failure)
        case StorageUnavailable():
            # Outside of a decision, such as while a key is looked up.
            log.error("request %s: %s", request.state.request_id, failure)
            message = "the server cannot answer at the moment; ask again"
            error = errors.unavailable(str(failure) if isinstance(failure, Damaged) else message)
        case _:
            message = "the server failed; its log has the cause under this request id"
            error = ControlError("internal", message)
    return error_reply(request, error)


def _http(request: Request, failure: HTTPException) -> ControlError:
    """Return the error for an unknown path, or a wrong method."""
    path, headers = errors.shown(request.url.path), failure.headers
    match failure.status_code:
        case 404:
            message = f"there is nothing at {path}{_elsewhere(request)}"
            return ControlError("not_found", message, headers=headers)
        case 405:
            message = f"{path} does not accept {errors.shown(request.method)}"
            return ControlError("method_not_allowed", message, headers=headers)
    return ControlError("internal", failure.detail, headers=headers)


def _elsewhere(request: Request) -> str:
    """Return a hint with the PDP's URL, for a caller that mistakes this server for the PDP."""
    context: Context = request.app.state.context
    if "/v1/" in request.url.path[1:]:
        return ": the control plane's URL (NOMOS_CONTROL_URL) ends before the path, without /v1"
    if provider_name(request.url.path) not in context.catalog:
        return ""
    where = "" if context.pdp_url is None else f", which is {context.pdp_url}"
    return f": this is the control plane, and calls go to the PDP{where} (NOMOS_PDP_URL)"


_HANDLERS: Final = dict.fromkeys(
    (RequestError, InvalidRequest, KeyEnded, HTTPException, StorageUnavailable, Exception), _error
)
