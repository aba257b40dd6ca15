"""`Route`: one route of the control plane. Each feature lists its own; `routes` serves all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nomos.server.control.context import Context
from nomos.server.control.permissions import Act, Kind
from nomos.server.domain.accounts import ApiKey, Role

Handler = Callable[[Context, Request, ApiKey | None], Awaitable[dict[str, Any] | Response]]
"""Answers with a JSON object, or with a whole response: a page, a stream."""

Identify = Callable[[Context, Request, str], Awaitable[ApiKey]]
"""Authenticates an invocation, the `Authorization` header of a request."""


@dataclass(frozen=True)
class Route:
    """One method of one path: who may call it, its handler, and its documentation.

    `roles` None: anyone may call it, or the handler authenticates its caller without an API key.
    `holder`: how agents with a chain instead of an API key are authenticated here; None for a route
    that does not accept them. `act`: what an operator does by it, in the words of
    `permissions.TABLE`, where that does not depend on what the request names. `reply` None: the
    response is not JSON. `documented` False: it is for browsers, not programs.
    """

    method: str
    path: str
    roles: tuple[Role, ...] | None
    handler: Handler
    reply: Any
    summary: str
    accepts: Any = None
    headers: tuple[Mapping[str, Any], ...] = ()
    refuses: tuple[int, ...] = field(default=())
    documented: bool = True
    act: tuple[Act, Kind] | None = None
    holder: Identify | None = None
