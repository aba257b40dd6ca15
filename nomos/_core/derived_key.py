"""The API key that a request with an idempotency key makes, however often it is sent.

An API key is shown once and only its hash is kept. So that a lost reply loses no key, the client
sends 32 random bytes as `Idempotency-Key`, and the secret of the new API key is derived from them
(HMAC-SHA-256, RFC 2104): the same request makes the same key, and there is nothing to keep.
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
"""Different characters that 43 random ones have; names that people make up have fewer."""


def is_random(key: str) -> bool:
    """Whether it can be 32 random bytes, base64url without padding."""
    return bool(FORM.fullmatch(key)) and len(set(key)) >= LEAST_DIFFERENT


def derived_secret(key: str, *, operator: str, app: str) -> str:
    """The secret part of the API key that `app` gets from `operator`, another app."""
    return (
        base64.b32encode(derived_bytes(key, "api key", operator, app)).decode().rstrip("=").lower()
    )


def derived_bytes(key: str, *what: str) -> bytes:
    """32 bytes for one purpose."""
    text = "\0".join(("nomos repeat 1", *what))
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()
