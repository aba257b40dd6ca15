"""`PdpError`: the error codes of the PDP, their HTTP statuses and their fixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nomos._core.http_rules.errors import FailureCode, RequestError
from nomos._core.http_rules.shown import shown
from nomos._core.remedies import FIXES
from nomos.http_status import STATUS_BY_REASON
from nomos.models import DenyReason

__all__ = ["STATUS_BY_REASON", "PdpError", "denied", "invalid", "shown", "unavailable"]

_FIXES: Final[Mapping[str, str | None]] = {
    **FIXES,
    "not_yet_valid": "wait until it becomes valid; if that is now, the signer's clock is ahead of "
    "the PDP's",
    "chain_too_deep": "request a grant from the control plane instead of delegating once more",
    "untrusted_issuer": "request a grant from the control plane that this PDP trusts",
    "policy_error": None,
}
"""Fixes for callers of a PDP, who cannot change its settings or its policy."""


class PdpError(RequestError):
    """An error for the caller; the message is a sentence and holds no secret.

    `reason` is set when this is a decision, and then equals `code`; `hop` is the link at fault, and
    `fix` says what the caller can do, if anything.
    """

    def __init__(
        self,
        code: DenyReason | FailureCode,
        message: str,
        *,
        reason: DenyReason | None = None,
        hop: int | None = None,
        fix: str | None = None,
        fields: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        members = {"hop": hop, "fix": fix}
        super().__init__(code, message, fields=fields, headers=headers, members=members)
        self.reason = reason


def invalid(message: str, *fields: str) -> PdpError:
    """Return the PdpError of a request that is invalid in these fields."""
    return PdpError("invalid_request", message, fields=fields)


def unavailable(message: str) -> PdpError:
    """Return the PdpError of a failure that may be temporary."""
    return PdpError("unavailable", message)


def denied(
    reason: DenyReason, message: str, *, hop: int | None = None, fix: str | None = None
) -> PdpError:
    """Return a deny's PdpError, with the `fix` of its reason by default; 401 with its challenge."""
    headers = (
        {"www-authenticate": 'Bearer error="invalid_token"'}
        if STATUS_BY_REASON[reason] == 401
        else {}
    )
    helps = _FIXES[reason] if fix is None else fix
    return PdpError(reason, message, reason=reason, hop=hop, fix=helps, headers=headers)
