"""The text forms of tokens, DIDs and hashes, and the cid of a token, each defined once."""

from __future__ import annotations

import hashlib
import re
from typing import Final

DID_FORM: Final = r"did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}"
"""An Ed25519 did:key in its canonical form (multicodec 0xed01, base58btc)."""

SHA256_FORM: Final = r"[0-9a-f]{64}"
"""A sha256 in lower-case hex, such as a cid."""

DID: Final = re.compile(DID_FORM)
SHA256: Final = re.compile(SHA256_FORM)

JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""A JWT in compact form: three base64url parts joined by dots, none of them decoded."""


def is_did(value: object) -> bool:
    """Whether the value is an Ed25519 did:key in canonical form."""
    return isinstance(value, str) and DID.fullmatch(value) is not None


def cid_of(token: str) -> str:
    """Return the id of a token: the sha256 of its whole text.

    A text with lone surrogates, which no token has, gets an id too.
    """
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
