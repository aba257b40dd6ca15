"""Delegations decoded without verification.

The control plane returns delegations, and the signing binary verifies them where it matters. Here
they are only read: for the issuer that an invocation must name, and to detect a reply for another
key. Nothing is allowed because of what is read here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any

from nomos._limits import MAX_TOKEN
from nomos.errors import InvalidResponse


def decode_unverified(jwt: str) -> dict[str, Any]:
    """Return a JWT's payload, its signature unchecked. Raises `InvalidResponse` for other text."""
    # The length is checked first, so that a text of many dots is not split into many strings.
    parts = jwt.split(".", 3) if len(jwt) <= MAX_TOKEN else []
    if len(parts) != 3:
        raise InvalidResponse("the control plane sent a chain that is not made of delegations")
    body = parts[1]
    try:
        payload = json.loads(base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise InvalidResponse("the control plane sent a delegation that cannot be read") from error
    if not isinstance(payload, dict):
        raise InvalidResponse("the control plane sent a delegation that cannot be read")
    return payload


def forkable(chain: Iterable[str]) -> bool:
    """Whether `meta.forkable` permits delegating from a chain; any value but true forbids it."""
    metas = (decode_unverified(link).get("meta") for link in chain)
    return all(meta.get("forkable", True) is True for meta in metas if isinstance(meta, dict))


def approved(chain: Iterable[str]) -> bool:
    """Whether a chain has a person's approval: it is good for one call and is never cached."""
    return any("approval" in (decode_unverified(link).get("meta") or {}) for link in chain)
