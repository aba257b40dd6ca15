"""Reading what a delegation says, without trusting it.

The control plane hands us delegations and the binary checks them where it matters. Here we
only look: for the issuer that an invocation must name, and to tell a reply that is meant for
another key. Nothing is allowed because of what is read here.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any

from nomos.errors import Unintelligible

MAX_TOKEN = 64 * 1024


def decode_unverified(jwt: str) -> dict[str, Any]:
    """Return the payload of a JWT whose signature nobody checked.

    Raises `Unintelligible` if the text is not a JWT with a JSON object inside.
    """
    # The length comes first: who sends nothing but dots would have them all made into texts.
    parts = jwt.split(".", 3) if len(jwt) <= MAX_TOKEN else []
    if len(parts) != 3:
        raise Unintelligible("the control plane sent a chain that is not made of delegations")
    body = parts[1]
    try:
        payload = json.loads(base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise Unintelligible("the control plane sent a delegation that cannot be read") from error
    if not isinstance(payload, dict):
        raise Unintelligible("the control plane sent a delegation that cannot be read")
    return payload


def forkable(chain: Iterable[str]) -> bool:
    """Whether a chain can be handed on, as far as `meta.forkable` says; only true permits."""
    metas = (decode_unverified(link).get("meta") for link in chain)
    return all(meta.get("forkable", True) is True for meta in metas if isinstance(meta, dict))


def approved(chain: Iterable[str]) -> bool:
    """Whether a person's approval stands behind a chain: it counts once and is never kept."""
    return any("approval" in (decode_unverified(link).get("meta") or {}) for link in chain)
