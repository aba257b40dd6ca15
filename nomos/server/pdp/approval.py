"""Reads the approval that a verified token is based on.

`nomos._core.approval_rule` says which approvals are valid, the same for every service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nomos._core.approval_rule import check_approval
from nomos._core.unverified import UnverifiedLink
from nomos.server.pdp.statuses import denied


@dataclass(frozen=True)
class TokenApproval:
    """The approval that a verified token names; `cid` and `expires_at` are the delegation's."""

    envelope: str
    cid: str
    expires_at: int
    roles: frozenset[str]


def approval(
    meta: Mapping[str, Any], links: Sequence[UnverifiedLink], audience: str
) -> TokenApproval | None:
    """Return the approval in the root's `meta`, or None. Raises PdpError for another form."""
    if "approval" not in meta:
        return None
    root, *rest = links
    if rest:
        # The signing binary rejects these, too: an approved call cannot be delegated.
        raise denied("chain_invalid", "a token that came from an approval cannot be delegated")
    wrong = check_approval(meta, root.payload, audience)
    if wrong is not None:
        reason, message, _ = wrong
        raise denied(reason, message)
    given = meta["approval"]
    roles = frozenset(given["roles"])
    return TokenApproval(str(given["id"]), root.cid, int(root.payload["exp"]), roles)
