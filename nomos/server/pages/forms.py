"""Reading a form that a browser posts: small, one value a field."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from nomos.server.control.errors import ControlError

MAX_FORM: Final = 16 * 1024
MAX_FIELDS: Final = 8
SECONDS_TO_SEND: Final = 10.0
TYPE: Final = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises ControlError when it is anything else."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != TYPE:
        raise ControlError("invalid_request", f"This takes a form ({TYPE})")
    content = bytearray()
    try:
        async with asyncio.timeout(SECONDS_TO_SEND):
            async for chunk in request.stream():
                content += chunk
                if len(content) > MAX_FORM:
                    message = f"The form is larger than {MAX_FORM // 1024} KiB"
                    raise ControlError("too_large", message, headers={"connection": "close"})
    except TimeoutError:
        raise ControlError("invalid_request", "The form did not arrive in time") from None
    return _fields(bytes(content))


def _fields(content: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            content.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(content),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise ControlError("invalid_request", "The form cannot be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ControlError("invalid_request", "The form has a field twice")
    return fields
