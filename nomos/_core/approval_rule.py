"""The rule for tokens with a person's approval: one call, one use, one service.

The issuer writes `meta.approval` into a delegation when every role that policy requires has
approved. Such a token is accepted only if it cannot cover more than what the approvers saw: it is
signed by the issuer itself, not delegated further, and for one command and one resource. Its
arguments are those that the approvers saw, or any, if that is what they saw.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from nomos._identifiers import SHA256
from nomos.models import DenyReason

_ENVELOPE: Final = re.compile(r"env_[0-9a-z]{26}")
_MEMBERS: Final = {"id", "fingerprint", "roles"}


def check_approval(
    meta: Mapping[str, Any], root: Mapping[str, Any], audience: str
) -> tuple[DenyReason, str, str] | None:
    """Return why the approval in a verified root's `meta` is invalid: code, message, field.

    None if it is valid at `audience`, or if there is none. `root` is the root's payload. The
    signing binary checks that the root was not delegated further.
    """
    if "approval" not in meta:
        return None
    if not _is_approval(meta["approval"]):
        return (
            "approval_not_found",
            "the token names an approval in an unknown form",
            "meta.approval",
        )
    # Each service counts uses for itself, so the approval must be bound to one service.
    if meta.get("audience") != audience:
        return _mismatch("was approved for another service", "meta.audience")
    for selector, what in ((".cmd", "command"), (".resource", "resource")):
        if not _pins(root.get("pol"), selector):
            return _mismatch(f"does not name the one {what} that was approved", "pol")
    return None


def _is_approval(given: object) -> bool:
    if not isinstance(given, dict) or given.keys() != _MEMBERS:
        return False
    ident, fingerprint, roles = given["id"], given["fingerprint"], given["roles"]
    return (
        isinstance(ident, str)
        and isinstance(fingerprint, str)
        and _ENVELOPE.fullmatch(ident) is not None
        and SHA256.fullmatch(fingerprint) is not None
        and isinstance(roles, list)
        and all(isinstance(role, str) for role in roles)
    )


def _pins(pol: object, selector: str) -> bool:
    statements = pol if isinstance(pol, list) else []
    return any(isinstance(each, list) and each[:2] == ["==", selector] for each in statements)


def _mismatch(what: str, field: str) -> tuple[DenyReason, str, str]:
    return "approval_mismatch", f"this token came from an approval and {what}", field
