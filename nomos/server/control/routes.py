"""The table of routes, and the app that it makes.

A route names the roles that may call it; None means anyone. The table is what is served: beside
it there is only the document made from it (`/openapi.json`), which anyone may read.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from nomos._core.reply_identity import echoed
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
from nomos.server.control.body import MAX_WITH_CHAIN
from nomos.server.control.context import Context
from nomos.server.control.credentials import authenticate
from nomos.server.control.errors import ControlError
from nomos.server.control.invocation_auth import is_invocation
from nomos.server.control.messages import AuthorizeReply, AuthorizeRequest, Health, WellKnown
from nomos.server.control.middleware import RequestIdMiddleware
from nomos.server.control.route import Route
from nomos.server.domain.accounts import ApiKey
from nomos.server.storage.damaged_rows import Damaged
from nomos.server.storage.database import StorageUnavailable

MAX_KEY: Final = 256

Endpoint = Callable[[Request], Awaitable[Response]]

log = logging.getLogger("nomos.server")


async def post_authorize(ports: Context, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """Decide one question."""
    assert caller is not None, "the table gives this route a role"
    key = _idempotency_key(request.headers.getlist("idempotency-key"))
    content = await body.read(request, MAX_WITH_CHAIN)
    request_id: str = request.state.request_id
    return await authorize(ports, caller, content, key=key, request_id=request_id)


async def post_batch(ports: Context, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """Decide up to 100 questions."""
    assert caller is not None, "the table gives this route a role"
    key = _idempotency_key(request.headers.getlist("idempotency-key"))
    content = await body.read(request, MAX_WITH_CHAIN)
    state = request.state
    return await authorize_batch(
        ports, caller, content, key=key, request_id=state.request_id, may_act=state.still
    )


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "POST",
        "/v1/authorize",
        ("agent",),
        post_authorize,
        AuthorizeReply,
        "Ask whether an agent may do something; an allow brings the delegation for it.",
        accepts=AuthorizeRequest,
        headers=(openapi.IDEMPOTENCY_KEY,),
        refuses=(400, 409, 413, 429, 503),
        holder=invocation_auth.identify,
    ),
    Route(
        "POST",
        "/v1/authorize/batch",
        ("agent",),
        post_batch,
        BatchReply,
        "Ask 1 to 100 questions; each has its own answer, receipt, or error in its place.",
        accepts=BatchRequest,
        headers=(openapi.IDEMPOTENCY_KEY,),
        refuses=(400, 413, 429, 503),
    ),
    Route(
        "GET",
        "/.well-known/nomos",
        None,
        discovery.well_known,
        WellKnown,
        "Who signs here, which services honour it, and the limits.",
        refuses=(503,),
    ),
    *keys.ROUTES,
    *revocations.ROUTES,
    *audit.ROUTES,
    *swarm.ROUTES,
    *services.ROUTES,
    *policies.ROUTES,
    Route("GET", "/healthz", None, discovery.healthy, Health, "The process answers."),
    Route(
        "GET",
        "/readyz",
        None,
        discovery.ready,
        Health,
        "A decision could be made and kept.",
        refuses=(503,),
    ),
    *approvals.ROUTES,
    *apps.ROUTES,
    *login.ROUTES,
)


def create_control(ports: Context, pages: Sequence[Route] = ()) -> ASGIApp:
    """The control plane as an ASGI app, with the pages where people sign in and answer."""
    app = FastAPI(
        title="Nomos control plane",
        version=ports.version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    served = [(route, _endpoint(ports, route)) for route in (*ROUTES, *pages)]
    for route, endpoint in served:
        app.add_api_route(route.path, endpoint, methods=[route.method], response_model=None)
    app.state.ports = ports
    openapi.install(app, ports.control_url, partial(_described, served))
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return RequestIdMiddleware(app)


def _described(served: Sequence[tuple[Route, Endpoint]]) -> list[APIRoute]:
    """Return the documented routes with their models.

    Building these takes longer than the rest of the app, and requests are served without them.
    """
    return [
        APIRoute(
            route.path,
            endpoint,
            methods=[route.method],
            summary=route.summary,
            operation_id=openapi.operation_id(route.method, route.path),
            response_model=None,
            responses=openapi.responses(route.reply, route.refuses, roles=route.roles),
            openapi_extra=openapi.operation(
                route.accepts, route.headers, roles=route.roles, holders=route.holder is not None
            ),
        )
        for route, endpoint in served
        if route.documented
    ]


def _endpoint(ports: Context, route: Route) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        caller = None
        if route.roles is not None:
            sent = request.headers.getlist("authorization")
            if route.holder is not None and is_invocation(sent):
                caller = await route.holder(ports, request, sent[0])
                request.state.still = partial(invocation_auth.check_app, ports, caller)
                if hasattr(request.state, "body"):
                    await request.state.still()
            else:
                request.state.still = partial(authenticate, ports.store, sent, route.roles)
                caller = await request.state.still()
            if route.act is not None:
                act, kind = route.act
                permissions.check(caller, act, permissions.PermissionTarget(kind, route.path))
        content = await route.handler(ports, request, caller)
        if isinstance(content, Response):
            return content
        named = content | echoed(request.state.call_id)
        return JSONResponse(named, headers={"cache-control": "no-store"})

    return endpoint


def _idempotency_key(sent: Sequence[str]) -> str | None:
    if not sent:
        return None
    key = sent[0]
    if len(sent) > 1 or not 0 < len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        message = f"Idempotency-Key: must be one value of 1 to {MAX_KEY} printable ASCII characters"
        raise InvalidRequest(message, fields=("Idempotency-Key",))
    return key


async def _refused(request: Request, failure: Exception) -> Response:
    assert isinstance(failure, ControlError)
    return _reply(
        request,
        failure.code,
        failure.message,
        fields=failure.fields,
        headers=failure.headers,
        details=failure.details,
    )


async def _invalid(request: Request, failure: Exception) -> Response:
    assert isinstance(failure, InvalidRequest)
    return _reply(request, "invalid_request", str(failure), fields=failure.fields)


async def _http(request: Request, failure: Exception) -> Response:
    """What the framework refuses by itself: no such path, another method."""
    assert isinstance(failure, HTTPException)
    code = errors.BY_STATUS.get(failure.status_code, "internal")
    path = errors.shown(request.url.path)
    sentences = {
        "not_found": f"there is nothing at {path}{_elsewhere(request)}",
        "method_not_allowed": f"{path} does not take {errors.shown(request.method)}",
    }
    return _reply(request, code, sentences.get(code, failure.detail), headers=failure.headers)


def _elsewhere(request: Request) -> str:
    """Say where calls are made to who takes this for the PDP."""
    ports: Context = request.app.state.ports
    if "/v1/" in request.url.path[1:]:
        return ": the control plane's URL (NOMOS_CONTROL_URL) ends before the path, without /v1"
    if provider_name(request.url.path) not in ports.catalog:
        return ""
    where = "" if ports.pdp_url is None else f", which is {ports.pdp_url}"
    return f": this is the control plane, and calls are made at the PDP{where} (NOMOS_PDP_URL)"


async def _unavailable(request: Request, failure: Exception) -> Response:
    """The database failed outside of a decision, such as while a key was looked up."""
    log.error("request %s: %s", request.state.request_id, failure)
    damaged = isinstance(failure, Damaged)
    message = str(failure) if damaged else "the server cannot answer at the moment; ask again"
    refusal = errors.unavailable(message)
    return _reply(request, refusal.code, refusal.message, headers=refusal.headers)


async def _failed(request: Request, failure: Exception) -> Response:
    message = "the server failed; its log has the cause under this request id"
    return _reply(request, "internal", message)


_HANDLERS: Final = {
    ControlError: _refused,
    InvalidRequest: _invalid,
    HTTPException: _http,
    StorageUnavailable: _unavailable,
    Exception: _failed,
}


def _reply(
    request: Request,
    code: errors.ErrorCode,
    message: str,
    *,
    fields: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    details: Mapping[str, object] | None = None,
) -> Response:
    return Response(
        errors.body(
            code,
            message,
            request.state.request_id,
            fields,
            {**(details or {}), **echoed(request.state.call_id)},
        ),
        status_code=errors.STATUS_BY_CODE[code],
        headers={"cache-control": "no-store"} | dict(headers or {}),
        media_type="application/json",
    )
