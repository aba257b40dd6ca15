"""`RequestError`: an error as it is sent to a caller, with its status and its JSON.

`nomos.http_status.STATUS_BY_REASON` has the status of each deny reason, `FAILURES` that of each
other code. Codes never change; messages are for people and may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

from nomos.http_status import STATUS_BY_REASON
from nomos.models import DenyReason

RequestCode = Literal[
    "invalid_request",
    "invalid_policy",
    "missing_api_key",
    "invalid_api_key",
    "app_disabled",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "idempotency_conflict",
    "already_decided",
    "question_changed",
    "too_large",
    "rate_limited",
    "internal",
    "unavailable",
]
"""Codes of errors that are not decisions: the request is wrong, or the server is unavailable."""

FailureCode = Literal[RequestCode, "upstream_error", "upstream_timeout"]
"""Codes of errors that are not decisions, with those of a server that calls an upstream."""

REQUEST_CODES: Final[tuple[RequestCode, ...]] = get_args(RequestCode)

FAILURES: Final[Mapping[FailureCode, int]] = {
    "invalid_request": 400,
    "invalid_policy": 400,
    "missing_api_key": 401,
    "invalid_api_key": 401,
    "app_disabled": 403,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "idempotency_conflict": 409,
    "already_decided": 409,
    "question_changed": 409,
    "too_large": 413,
    "rate_limited": 429,
    "internal": 500,
    "upstream_error": 502,
    "unavailable": 503,
    "upstream_timeout": 504,
}

STATUS_OF: Final[Mapping[DenyReason | FailureCode, int]] = dict[DenyReason | FailureCode, int](
    (*STATUS_BY_REASON.items(), *FAILURES.items())
)

MAX_FIELDS: Final = 8
MAX_FIELD: Final = 128
"""Characters of a path in `fields`; longer ones come from the request itself."""


class RequestError(Exception):
    """An error instead of a reply. The message is a sentence and contains no secret.

    `status` is that of the code, unless a server uses another one for the code. `members` are
    further members of its JSON; those that are None are left out.
    """

    def __init__(
        self,
        code: DenyReason | FailureCode,
        message: str,
        *,
        status: int | None = None,
        fields: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = STATUS_OF[code] if status is None else status
        self.message = message
        self.fields = tuple(fields)
        self.headers = dict(headers or {})
        self.members = {name: each for name, each in (members or {}).items() if each is not None}


def error_body(error: RequestError, request_id: str, **more: object) -> dict[str, Any]:
    """Return the JSON object of an error; it has `fields` if the request itself is wrong."""
    content: dict[str, Any] = {
        "error": error.message,
        "error_code": error.code,
        "request_id": request_id,
        **error.members,
        **more,
    }
    if error.fields:
        content["fields"] = [field[:MAX_FIELD] for field in error.fields[:MAX_FIELDS]]
    return content
