"""The HTTP status of each deny reason, for the PDP and for your own services.

401 means that the token is invalid and another token may be accepted; 403 that this token does not
permit the call; 503 that the check cannot be made now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nomos.models import DenyReason

STATUS_BY_REASON: Final[Mapping[DenyReason, int]] = {
    # The token is invalid.
    "malformed_ucan": 401,
    "bad_signature": 401,
    "expired": 401,
    "not_yet_valid": 401,
    "chain_invalid": 401,
    "chain_too_deep": 401,
    "chain_attenuation_violation": 401,
    "untrusted_issuer": 401,
    "audience_mismatch": 401,
    "revoked": 401,
    "replayed": 401,
    # The token does not permit the call.
    "resource_out_of_scope": 403,
    "resource_mismatch": 403,
    "command_unknown": 403,
    "policy_denied": 403,
    "policy_error": 403,
    "step_up_required": 403,
    "approval_denied": 403,
    "approval_expired": 403,
    "approval_not_found": 403,
    "approval_mismatch": 403,
    "approval_already_used": 403,
    # The check cannot be made now.
    "revocations_stale": 503,
}
