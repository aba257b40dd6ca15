"""Every way in which the PDP says no, and the HTTP status each one has.

`STATUS` is the one table from a deny reason to a status. `FAILURES` has the codes that are no
decision: the request or the surroundings are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from nomos._core.remedies import FIXES
from nomos.models import DenyReason
from nomos.statuses import STATUS

__all__ = ["FAILURES", "SHOWN", "STATUS", "FailureCode", "PdpError", "denied", "shown"]

FailureCode = Literal[
    "invalid_request",
    "forbidden",
    "not_found",
    "too_large",
    "rate_limited",
    "internal",
    "upstream_error",
    "unavailable",
    "upstream_timeout",
]

FAILURES: Final[Mapping[FailureCode, int]] = {
    "invalid_request": 400,
    "forbidden": 403,
    "not_found": 404,
    "too_large": 413,
    "rate_limited": 429,
    "internal": 500,
    "upstream_error": 502,
    "unavailable": 503,
    "upstream_timeout": 504,
}

_FIXES: Final[Mapping[str, str | None]] = {
    **FIXES,
    "not_yet_valid": "wait until it begins; if that is now, the signer's clock is ahead of the "
    "PDP's",
    "chain_too_deep": "ask the control plane for a grant instead of handing on once more",
    "untrusted_issuer": "ask for a grant at the control plane that this PDP trusts",
    "policy_error": None,
}
"""What would help whoever calls a PDP: of its settings and its policy they can change nothing."""

_ALL: Final[dict[str, int]] = {
    code: status for table in (FAILURES, STATUS) for code, status in table.items()
}

SHOWN: Final = 80
"""Characters of a caller's own text that a message repeats."""


class PdpError(Exception):
    """A no on its way to the caller; the message is a sentence and holds no secret.

    `reason` is set when this is a decision, and then equals `code`; `fix` says what would help, if
    the caller can do that.
    """

    def __init__(
        self,
        code: DenyReason | FailureCode,
        message: str,
        *,
        status: int | None = None,
        reason: DenyReason | None = None,
        hop: int | None = None,
        fix: str | None = None,
        fields: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = _ALL[code] if status is None else status
        self.reason = reason
        self.message = message
        self.hop = hop
        self.fix = fix
        self.fields = fields
        self.headers = dict(headers or {})


def denied(
    reason: DenyReason, message: str, *, hop: int | None = None, fix: str | None = None
) -> PdpError:
    """Return the refusal of a decision, with the `fix` for its reason if none is given.

    A 401 tells HTTP clients that a token would help.
    """
    headers = {"www-authenticate": 'Bearer error="invalid_token"'} if STATUS[reason] == 401 else {}
    helps = _FIXES[reason] if fix is None else fix
    return PdpError(reason, message, reason=reason, hop=hop, fix=helps, headers=headers)


def shown(text: str) -> str:
    """Return a caller's text as it may appear in a sentence: quoted, ASCII, and short."""
    short = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    return ascii(short.replace("…", "..."))
