"""Tokens that people's approval stands behind: good for one exact call, once.

The issuer writes `meta.approval` into a delegation when every role that policy asked for has
approved. Such a token is believed only where it cannot mean more than they saw: signed by the
issuer itself, not handed on, for one command and one resource. Its arguments are those that
were shown to them, or any, if they were told so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomos._wire import Inspected
from nomos.server.pdp.statuses import Refusal, denied

_ENVELOPE: Final = re.compile(r"env_[0-9a-z]{26}")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_MEMBERS: Final = {"id", "fingerprint", "roles"}


@dataclass(frozen=True)
class Approval:
    """An approval as a proven token names it; `cid` and `expires_at` are the delegation's."""

    envelope: str
    cid: str
    expires_at: int
    roles: frozenset[str]


def approval(meta: Mapping[str, Any], links: Sequence[Inspected], audience: str) -> Approval | None:
    """Return the approval in the root's `meta`, None if there is none.

    Raises Refusal for one that is not what the issuer writes.
    """
    if "approval" not in meta:
        return None
    given, (root, *rest) = meta["approval"], links
    if rest:
        # The verifier refuses these too: what was approved is the holder's alone.
        raise denied("chain_invalid", "a token that came from an approval cannot be handed on")
    if not _is_approval(given):
        raise denied("approval_not_found", "the token names an approval in a form unknown here")
    # A delegation says nothing of where it is used, and each service counts for itself.
    if meta.get("audience") != audience:
        raise _mismatch("was approved for another service")
    pol = root.payload.get("pol")
    for selector, what in ((".cmd", "command"), (".resource", "resource")):
        if not _pins(pol, selector):
            raise _mismatch(f"does not name the one {what} that was approved")
    roles = frozenset(given["roles"])
    return Approval(str(given["id"]), root.cid, int(root.payload["exp"]), roles)


def _is_approval(given: object) -> bool:
    if not isinstance(given, dict) or given.keys() != _MEMBERS:
        return False
    ident, fingerprint, roles = given["id"], given["fingerprint"], given["roles"]
    return (
        isinstance(ident, str)
        and isinstance(fingerprint, str)
        and _ENVELOPE.fullmatch(ident) is not None
        and _FINGERPRINT.fullmatch(fingerprint) is not None
        and isinstance(roles, list)
        and all(isinstance(role, str) for role in roles)
    )


def _pins(pol: object, selector: str) -> bool:
    statements = pol if isinstance(pol, list) else []
    return any(isinstance(each, list) and each[:2] == ["==", selector] for each in statements)


def _mismatch(what: str) -> Refusal:
    return denied("approval_mismatch", f"this token came from an approval and {what}")
