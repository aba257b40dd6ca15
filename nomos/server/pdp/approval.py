"""Tokens that people's approval stands behind, as the PDP uses them.

What makes one good is in `nomos._core.approval_rule`: the same for every service.
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
    """An approval as a proven token names it; `cid` and `expires_at` are the delegation's."""

    envelope: str
    cid: str
    expires_at: int
    roles: frozenset[str]


def approval(
    meta: Mapping[str, Any], links: Sequence[UnverifiedLink], audience: str
) -> TokenApproval | None:
    """Return the approval in the root's `meta`, None if there is none.

    Raises PdpError for one that is not what the issuer writes.
    """
    if "approval" not in meta:
        return None
    root, *rest = links
    if rest:
        # The verifier refuses these too: what was approved is the holder's alone.
        raise denied("chain_invalid", "a token that came from an approval cannot be handed on")
    wrong = check_approval(meta, root.payload, audience)
    if wrong is not None:
        reason, message, _ = wrong
        raise denied(reason, message)
    given = meta["approval"]
    roles = frozenset(given["roles"])
    return TokenApproval(str(given["id"]), root.cid, int(root.payload["exp"]), roles)
