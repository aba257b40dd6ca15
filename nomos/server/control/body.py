"""Reads the JSON body of a request to the control plane, with limits."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request

from nomos._core.http_rules import strict_json
from nomos._core.http_rules.strict_json import JsonFault
from nomos._limits import MAX_BODY
from nomos.errors import InvalidRequest
from nomos.server.control.errors import ControlError
from nomos.server.http.body import BodyFault, read_bounded

SECONDS_TO_SEND: Final = 20.0

Still = Callable[[], Awaitable[object]]
"""Raises ControlError if an authenticated caller's access has ended: `request.state.still`."""


async def read(request: Request, most: int = MAX_BODY) -> dict[str, Any]:
    """Read the body, of at most `most` bytes, as one JSON object.

    Raises ControlError if it is too large or too slow, InvalidRequest if it is not a JSON object.
    """
    return parse(await raw(request, most))


async def raw(request: Request, most: int = MAX_BODY) -> bytes:
    """Return the body's bytes; they are read once and kept. Raises as `read` does.

    The caller was authenticated before the body arrived, and is checked again after it.
    """
    known: bytes | None = getattr(request.state, "body", None)
    if known is None:
        known = request.state.body = await _bounded(request, most)
        still: Still | None = getattr(request.state, "still", None)
        if still is not None:
            await still()  # the caller's key may have been revoked while the body arrived
    return known


async def _bounded(request: Request, most: int) -> bytes:
    declared = request.headers.get("content-length", "")
    try:
        return await read_bounded(request.stream(), most, SECONDS_TO_SEND, declared=declared)
    except BodyFault as fault:
        if fault.fault == "late":
            message = f"the body did not arrive within {SECONDS_TO_SEND:g} seconds"
            raise ControlError("invalid_request", message) from None
        message = f"the body is larger than {most // 1024} KiB"
        raise ControlError("too_large", message, headers={"connection": "close"}) from None


def parse(content: bytes) -> dict[str, Any]:
    """Parse one JSON object. Raises InvalidRequest naming the member at fault."""
    try:
        return strict_json.parse(content)
    except JsonFault as fault:
        raise InvalidRequest(str(fault), fields=fault.fields) from None


def sorted_json(value: object) -> bytes:
    """Return one text for equal requests, for stored hashes. Not RFC 8785: 9.0 and 9 differ."""
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()
