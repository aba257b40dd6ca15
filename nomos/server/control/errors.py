"""`ControlError`: the error codes of the control plane and their HTTP statuses.

A deny is a decision and not an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

from nomos._core.http_rules.errors import FAILURES, REQUEST_CODES, RequestCode, RequestError
from nomos._core.http_rules.shown import shown
from nomos.errors import InvalidRequest
from nomos.models import VerificationCode

__all__ = [
    "STATUS_BY_CODE",
    "TOKEN_CODES",
    "ControlError",
    "ErrorCode",
    "invalid",
    "shown",
    "unavailable",
]

TokenCode = VerificationCode | Literal["replayed"]
"""Faults of the token of an agent without an API key."""

TOKEN_CODES: Final[Mapping[str, TokenCode]] = {
    code: code for code in (*get_args(VerificationCode), "replayed")
}

ErrorCode = RequestCode | TokenCode

STATUS_BY_CODE: Final[Mapping[ErrorCode, int]] = {
    **{code: FAILURES[code] for code in REQUEST_CODES},
    **dict.fromkeys(TOKEN_CODES.values(), 401),
}
"""A token replaces an API key here, so each of its faults is a 401."""


class ControlError(RequestError):
    """A request that was not answered; `details` are additional members of this one reply."""

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
        status = STATUS_BY_CODE[code]
        super().__init__(
            code, message, status=status, fields=fields, headers=headers, members=details
        )


def invalid(field: str, message: str) -> InvalidRequest:
    """Return the error about one member of a request, which the sentence names first."""
    return InvalidRequest(f"{field}: {message}", fields=(field,))


def unavailable(message: str) -> ControlError:
    """Return a temporary failure of this server: nothing was decided, and the caller may retry."""
    return ControlError("unavailable", message, headers={"retry-after": "1"})
