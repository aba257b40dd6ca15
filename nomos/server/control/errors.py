"""The errors of the control plane: the codes that it answers with, and their statuses.

A deny is an answer and not in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

from nomos._core.http_rules.errors import FAILURES, RequestError
from nomos._core.http_rules.shown import shown
from nomos.models import VerificationCode

__all__ = ["STATUS_BY_CODE", "TOKEN_CODES", "ControlError", "ErrorCode", "shown", "unavailable"]

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

REQUEST_CODES: Final[tuple[RequestCode, ...]] = get_args(RequestCode)

STATUS_BY_CODE: Final[Mapping[ErrorCode, int]] = {
    **{code: FAILURES[code] for code in REQUEST_CODES},
    **dict.fromkeys(TOKEN_CODES.values(), 401),
}
"""A token stands in place of an API key here, so whatever is wrong with it is a 401."""


class ControlError(RequestError):
    """No answer, and why; `details` are members of the reply for this error alone."""

    code: ErrorCode

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        fields: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(code, message, status=STATUS_BY_CODE[code], fields=fields, headers=headers)
        self.details = dict(details or {})

    def members(self) -> Mapping[str, object]:
        """Return the details."""
        return self.details


def unavailable(message: str) -> ControlError:
    """A failure of ours that may be over in a moment: nothing was decided, ask again."""
    return ControlError("unavailable", message, headers={"retry-after": "1"})
