"""ASGI apps made from tables of routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]
ErrorHandlers = Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]


def exact_route(method: str, path: str, endpoint: Endpoint) -> Route:
    """Return a route for one method; GET does not imply HEAD."""
    route = Route(path, endpoint, methods=[method])
    route.methods = {method}
    return route


def create_app(routes: Sequence[Route], handlers: ErrorHandlers) -> Starlette:
    """Return the app of exactly these routes; `handlers` turn their exceptions into replies."""
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app
