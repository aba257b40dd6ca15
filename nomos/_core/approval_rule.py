"""Tokens that people's approval stands behind: good for one exact call, once, at one service.

The issuer writes `meta.approval` into a delegation when every role that policy asked for has
approved. Such a token is believed only where it cannot mean more than they saw: signed by the
issuer itself, not handed on, for one command and one resource. Its arguments are those that
were shown to them, or any, if they were told so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from nomos.models import DenyReason

_ENVELOPE: Final = re.compile(r"env_[0-9a-z]{26}")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_MEMBERS: Final = {"id", "fingerprint", "roles"}


def check_approval(
    meta: Mapping[str, Any], root: Mapping[str, Any], audience: str
) -> tuple[DenyReason, str, str] | None:
    """Return why the approval in a proven root's `meta` is no good: code, sentence, field.

    None if it is good at `audience`, or if there is none. `root` is the root's payload. That it
    was not handed on is the binary's to see: nothing follows such a link.
    """
    if "approval" not in meta:
        return None
    if not _is_approval(meta["approval"]):
        return (
            "approval_not_found",
            "the token names an approval in a form unknown here",
            "meta.approval",
        )
    # A delegation says nothing of where it is used, and each service counts for itself.
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
        and _FINGERPRINT.fullmatch(fingerprint) is not None
        and isinstance(roles, list)
        and all(isinstance(role, str) for role in roles)
    )


def _pins(pol: object, selector: str) -> bool:
    statements = pol if isinstance(pol, list) else []
    return any(isinstance(each, list) and each[:2] == ["==", selector] for each in statements)


def _mismatch(what: str, field: str) -> tuple[DenyReason, str, str]:
    return "approval_mismatch", f"this token came from an approval and {what}", field
