"""Reads the bearer token of a request to the PDP."""

from __future__ import annotations

from collections.abc import Sequence

from nomos._core.http_rules import bearer
from nomos._core.http_rules.bearer import BearerFault
from nomos.server.pdp.statuses import PdpError, denied


def read_token(authorization: Sequence[str], query: bytes, most: int) -> str:
    """Return the token of the one `Authorization` header, of at most `most` characters.

    Raises PdpError for anything else.
    """
    try:
        token = bearer.read(authorization, query)
    except BearerFault as fault:
        raise _without_token(fault) from None
    wrong = bearer.token_fault(token, most)
    if wrong is not None:
        raise denied("malformed_ucan", wrong)
    return token


def _without_token(fault: BearerFault) -> PdpError:
    match fault.fault:
        case "in_query":
            challenge = {"www-authenticate": bearer.QUERY_CHALLENGE}
            return PdpError("invalid_request", bearer.IN_QUERY, headers=challenge)
        case "missing":
            missing = denied(
                "malformed_ucan",
                "send the token of a grant: `authorization: Bearer <grant.ucan>`",
            )
            missing.headers["www-authenticate"] = "Bearer"
            return missing
    return denied("malformed_ucan", "send one authorization header, `Bearer <grant.ucan>`")
