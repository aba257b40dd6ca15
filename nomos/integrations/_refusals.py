"""Bearer tokens in headers, and rejected tokens as HTTP responses (RFC 6750).

RFC 6750 defines how a bearer token is sent (section 2.1) and rejected (section 3). The response to
a rejected token states the problem and the fix in fixed sentences. It contains no value of the call
or of the chain, and of the token only the statement that failed, which its sender can read.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nomos._core.http_rules import bearer as bearer_rules
from nomos._core.http_rules import request_id as request_ids
from nomos._core.http_rules.bearer import BearerFault
from nomos._core.http_rules.errors import FailureCode, RequestError, error_body
from nomos.errors import Denied
from nomos.http_status import STATUS_BY_REASON
from nomos.models import DenyReason

RETRY_AFTER: Final = 2
"""Seconds after which a retry may succeed, since the view of revocations may then be current."""

_MESSAGES: Final[Mapping[DenyReason, str]] = {
    "malformed_ucan": "this is not a Nomos token, or not the kind of token that a call needs",
    "bad_signature": "a signature in the token is not valid",
    "expired": "the token has expired",
    "not_yet_valid": "the token is not valid yet; check that the clocks agree",
    "chain_invalid": "the token's delegations do not lead from its issuer to its sender",
    "chain_too_deep": "the token's chain is longer than this service accepts",
    "chain_attenuation_violation": "a delegation in the token exceeds the delegation before it",
    "untrusted_issuer": "this service does not trust the issuer of the token",
    "audience_mismatch": "the token is for another service",
    "revoked": "the token, or a delegation that it depends on, was revoked",
    "replayed": "the token was used before; for this call it is valid once",
    "resource_out_of_scope": "the token does not cover this call",
    "resource_mismatch": "the token is for another call",
    "command_unknown": "the token is for a command that this service does not know",
    "policy_denied": "policy denies this call",
    "policy_error": "policy could not be evaluated for this call",
    "step_up_required": "an operator must approve this call first",
    "approval_denied": "an operator denied the approval",
    "approval_expired": "the approval was not used in time",
    "approval_not_found": "the token names an approval in an unknown format",
    "approval_mismatch": "the approval in the token is for another call",
    "approval_already_used": "the approval was used before; it is valid once",
    "revocations_stale": "revocations cannot be checked now, so every token is rejected",
}

_MISSING: Final = "this call needs the token of a grant: send `authorization: Bearer <grant.ucan>`"

_OF_STATEMENTS: Final = ("resource_out_of_scope", "resource_mismatch")
"""The codes for a failed statement of a token's policy."""

_SECRET: Final = re.compile(r"did:|eyJ|[A-Za-z0-9_-]{40}")
"""Text that no message may contain: a DID, the beginning of a token, a hash or a key."""

_NOT_ALLOWED: Final = re.compile(r'[^\x20-\x7e]|["\\]')
"""Characters that `error_description` may not contain (RFC 6750, section 3)."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
"""A parameter name that a response may repeat: short, and not a token."""

_FIELD: Final = re.compile(r"[\x20-\x7e]{1,80}")


class CallRefused(RequestError):
    """An error for the caller. The message is a fixed sentence and contains no secret."""

    def __init__(
        self,
        code: DenyReason | FailureCode,
        message: str,
        *,
        hop: int | None = None,
        field: str | None = None,
        fix: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        given = _headers(code, message) if headers is None else headers
        members = {"hop": hop, "field": field, "fix": fix}
        super().__init__(code, message, headers=given, members=members)


def bearer(authorization: Sequence[str], query: bytes) -> str:
    """Return the token of the one `Authorization` header. Raises CallRefused if there is none."""
    try:
        return bearer_rules.read_token(authorization, query, missing=_MISSING)
    except BearerFault as fault:
        raise CallRefused(fault.code, fault.message, headers=fault.headers or None) from None


def refusal(denied: Denied, command: str, audience: str | None) -> CallRefused:
    """Return the error for the sender of a rejected token; `audience` is this service's DID."""
    for reason, status in STATUS_BY_REASON.items():
        if reason == denied.code:
            field = denied.field
            return CallRefused(
                reason,
                _message(reason, denied),
                hop=denied.hop,
                field=field if field is not None and _FIELD.fullmatch(field) else None,
                fix=_fix(denied, audience),
                headers=_headers(reason, _MESSAGES[reason], command if status == 403 else None),
            )
    if denied.code == "unavailable":
        return CallRefused("unavailable", "the token cannot be verified now; the call was not made")
    return CallRefused("forbidden", "the token does not allow this call")


def body(refusal: CallRefused, request_id: str) -> dict[str, Any]:
    """Return the JSON object of a response, as the PDP's, with the fix if it is known."""
    return error_body(refusal, request_id)


def headers(refusal: CallRefused, request_id: str) -> dict[str, str]:
    """Return the headers of a response, which must not be cached."""
    return {**refusal.headers, "cache-control": "no-store", "x-request-id": request_id}


def request_id(sent: Sequence[str]) -> str:
    """Return the caller's request id if it is safe to repeat, or else a new one."""
    return request_ids.choose(sent, secrets.token_hex)


def field_of(what: str, name: str) -> str:
    """Return the field for a parameter: `args.state`, or `args` if its name is not repeatable."""
    return f"{what}.{name}" if _NAME.fullmatch(name) else what


def _message(reason: DenyReason, denied: Denied) -> str:
    """Return the message of a code; for a failed statement in words, also its condition."""
    words = denied.wanted or ""
    failed = reason in _OF_STATEMENTS and (denied.field or "").startswith("pol[")
    if not failed or not words or words.startswith("[") or _SECRET.search(words):
        return _MESSAGES[reason]
    return f"{_MESSAGES[reason]}: it holds only where {words}"


def _headers(code: str, message: str, command: str | None = None) -> dict[str, str]:
    """Return the challenge for a rejected token, or when to try again."""
    match next((status for reason, status in STATUS_BY_REASON.items() if reason == code), None):
        case 401:
            return {"www-authenticate": _challenge("invalid_token", message)}
        case 403:
            return {"www-authenticate": _challenge("insufficient_scope", message, command)}
    return {"retry-after": str(RETRY_AFTER)} if code in ("revocations_stale", "unavailable") else {}


def _challenge(error: str, description: str, command: str | None = None) -> str:
    allowed = _NOT_ALLOWED.sub("'", description)
    scope = "" if command is None else f', scope="{command}"'
    return f'Bearer error="{error}", error_description="{allowed}"{scope}'


def _fix(denied: Denied, audience: str | None) -> str | None:
    """Return the fix. It may name this service's DID, which is public, and no other value."""
    if denied.code == "audience_mismatch" and audience is not None:
        return f"authorize with audience={audience!r}"
    fix = denied.fix
    return fix if fix is not None and not _SECRET.search(fix) else None
