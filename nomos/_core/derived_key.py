"""API keys derived from an Idempotency-Key, so that a repeated request makes the same key.

An API key is shown once, and only its hash is stored. If the reply is lost, the client repeats its
request: it sends 32 random bytes as `Idempotency-Key`, and the secret of the new API key is derived
from them (HMAC-SHA-256, RFC 2104). So nothing has to be stored for a repetition.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final

HEADER: Final = "idempotency-key"

FORM: Final = re.compile(r"[A-Za-z0-9_-]{43}")
LEAST_DIFFERENT: Final = 16
"""The fewest different characters in 43 random ones; names that people choose have fewer."""


def is_random(key: str) -> bool:
    """Whether this can be 32 random bytes in base64url without padding."""
    return bool(FORM.fullmatch(key)) and len(set(key)) >= LEAST_DIFFERENT


def derived_secret(key: str, *, operator: str, app: str) -> str:
    """Return the secret part of the API key that `operator` makes for `app`."""
    return (
        base64.b32encode(derived_bytes(key, "api key", operator, app)).decode().rstrip("=").lower()
    )


def derived_bytes(key: str, *what: str) -> bytes:
    """Return 32 bytes for one purpose."""
    text = "\0".join(("nomos repeat 1", *what))
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()
