"""JSON replies and error replies, in the same form for both servers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from nomos._core.http_rules.errors import RequestError, error_body
from nomos._core.reply_identity import echoed

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def json_reply(
    content: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a reply that no cache stores. Raises ValueError for what JSON cannot express."""
    return Response(
        json.dumps(content, separators=(",", ":"), allow_nan=False),
        status,
        {**HEADERS, **(headers or {})},
        "application/json",
    )


def error_reply(request: Request, error: RequestError) -> Response:
    """Return the reply to a request that was rejected or failed."""
    state = request.state
    content = error_body(error, state.request_id, **echoed(state.call_id))
    return json_reply(content, error.status, error.headers)
