"""Every way in which the control plane refuses to answer, and the one shape it does that in.

A deny is an answer and not in here. `STATUS` is the one table from a code to an HTTP status.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

from nomos.models import VerificationCode

TokenCode = VerificationCode | Literal["replayed"]
"""What may be wrong with the token of an agent that has no API key."""

TOKEN_CODES: Final[Mapping[str, TokenCode]] = {
    code: code for code in (*get_args(VerificationCode), "replayed")
}

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

ErrorCode = RequestCode | TokenCode

STATUS_BY_CODE: Final[Mapping[ErrorCode, int]] = {
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
    "unavailable": 503,
    **dict.fromkeys(TOKEN_CODES.values(), 401),
}

BY_STATUS: Final[Mapping[int, ErrorCode]] = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limited",
    503: "unavailable",
}
"""The codes for statuses that the web framework answers with by itself."""


MAX_FIELD: Final = 128
"""Characters of a path in `fields`; a longer one is of the caller's own making."""


class ControlError(Exception):
    """No answer, and why; the message is a sentence and holds no secret."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        fields: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = tuple(fields)
        self.headers = dict(headers or {})
        self.details = dict(details or {})


def body(
    code: ErrorCode,
    message: str,
    request_id: str,
    fields: Sequence[str] = (),
    details: Mapping[str, object] | None = None,
) -> bytes:
    """The JSON of an error reply; `fields` are there for a request that is itself wrong."""
    return json.dumps(error_content(code, message, request_id, fields, details)).encode()


def error_content(
    code: ErrorCode,
    message: str,
    request_id: str,
    fields: Sequence[str] = (),
    details: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """The members of an error reply."""
    content: dict[str, object] = {"error": message, "error_code": code, "request_id": request_id}
    content |= details or {}
    if fields:
        content["fields"] = [field[:MAX_FIELD] for field in fields]
    return content


def unavailable(message: str) -> ControlError:
    """A failure of ours that may be over in a moment: nothing was decided, ask again."""
    return ControlError("unavailable", message, headers={"retry-after": "1"})


def shown(text: str, limit: int = 80) -> str:
    """A caller's own text as it may stand in a sentence: quoted, ASCII, and short."""
    return ascii(text if len(text) <= limit else text[: limit - 3] + "...")
