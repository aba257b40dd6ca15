"""Reads forms that a browser posts: bounded, with one value per field."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from nomos._core.http_rules.query import QueryFault, parameters
from nomos.server.control.errors import ControlError
from nomos.server.http.body import BodyFault, read_bounded

MAX_FORM: Final = 16 * 1024
MAX_FIELDS: Final = 8
SECONDS_TO_SEND: Final = 10.0
TYPE: Final = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises ControlError if the request is not a valid form."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != TYPE:
        raise ControlError("invalid_request", f"The request body must be a form ({TYPE})")
    try:
        content = await read_bounded(request.stream(), MAX_FORM, SECONDS_TO_SEND)
        return parameters(content, most=MAX_FIELDS)
    except BodyFault as fault:
        if fault.fault == "late":
            message = f"The form did not arrive within {SECONDS_TO_SEND:.0f} seconds"
            raise ControlError("invalid_request", message) from None
        message = f"The form is larger than {MAX_FORM // 1024} KiB"
        raise ControlError("too_large", message, headers={"connection": "close"}) from None
    except QueryFault as fault:
        twice = fault.name is not None
        message = "The form has a field twice" if twice else "The form is not valid"
        raise ControlError("invalid_request", message) from None
