"""`Route`: one route of the control plane. Each feature lists its own; `routes` serves all."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from nomos.server.control.context import Context
from nomos.server.control.permissions import Act, Kind
from nomos.server.domain.accounts import ApiKey, Role
from nomos.server.http.query import Query

Answer = BaseModel | dict[str, Any] | Response
"""A JSON object, or a whole response: a page, a stream."""

Handler = Callable[[Context, Request, Any], Awaitable[Answer]]
"""Answers a request. The last argument is the caller's `ApiKey`; None if the route has no roles."""

Identify = Callable[[Context, Request, str], Awaitable[ApiKey]]
"""Authenticates an invocation, the `Authorization` header of a request."""


@dataclass(frozen=True)
class Route:
    """One method of one path: who may call it, its handler, and its documentation.

    `roles` None: anyone may call it, or the handler authenticates its caller without an API key.
    `reply` None: the response is not JSON. `accepts`: the model of the body. `refuses`: statuses of
    errors besides those that follow from the other members. `act`: what an operator does by it, in
    the words of `permissions.TABLE`, where that does not depend on what the request names.
    `holder`: how agents with a chain instead of an API key are authenticated here; None for a route
    that does not accept them. `documented` False: it is for browsers, not programs.
    """

    method: str
    path: str
    roles: tuple[Role, ...] | None
    handler: Handler
    reply: Any = None
    accepts: Any = None
    headers: tuple[Mapping[str, Any], ...] = ()
    query: Query | None = None
    refuses: tuple[int, ...] = ()
    act: tuple[Act, Kind] | None = None
    holder: Identify | None = None
    documented: bool = True

    @property
    def summary(self) -> str:
        """Return the docstring of the handler, which is also the text of the OpenAPI document."""
        return " ".join((self.handler.__doc__ or "").split())

    @property
    def path_parameters(self) -> list[str]:
        """Return the names of the parameters in the path."""
        return re.findall(r"\{(\w+)", self.path)


def route(
    method: str, path: str, roles: tuple[Role, ...] | None, reply: Any, **more: Any
) -> Callable[[Handler], Route]:
    """Return a decorator that makes a handler a `Route`; `more` are further members of it."""
    return lambda handler: Route(method, path, roles, handler, reply, **more)
