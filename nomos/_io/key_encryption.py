"""Encryption of key files (keys at rest) with a key that is stored elsewhere.

    nomos-sealed-v1.<key id>.<base64url: 12 bytes of nonce, ciphertext, 16 bytes of tag>

AES-256-GCM (NIST SP 800-38D). The key id is the first 8 hexadecimal digits of the SHA-256 of the
encryption key; it identifies the key and reveals nothing else about it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from typing import TYPE_CHECKING, Final

from nomos.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VARIABLE: Final = "NOMOS_KEY_ENCRYPTION_KEY_FILE"
"""Names the private file with the encryption key: 64 lower-case hexadecimal digits."""

_PREFIX: Final = "nomos-sealed-v1"
_SEALED: Final = re.compile(rf"{_PREFIX}\.([0-9a-f]{{8}})\.([A-Za-z0-9_-]{{40,2048}})")
_NONCE_BYTES: Final = 12


def is_sealed(text: str) -> bool:
    """Whether the text has the form of a sealed key."""
    return text.startswith(f"{_PREFIX}.")


def seal(text: str, key: bytes) -> str:
    """Encrypt one line of text with a key of 32 bytes."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + _cipher(key).encrypt(nonce, text.encode(), _PREFIX.encode())
    return f"{_PREFIX}.{key_id(key)}.{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"


def unseal(text: str, key: bytes, *, path: object) -> str:
    """Decrypt text of `seal` from `path`; `ConfigurationError` if damaged or of another key."""
    match = _SEALED.fullmatch(text)
    if match is None:
        raise _wrong(f"{path} is damaged: it is not a sealed key. Restore it from a backup")
    if match[1] != key_id(key):
        raise _wrong(
            f"{path} is sealed with the encryption key {match[1]}, but {VARIABLE} names the key "
            f"{key_id(key)}: set it to the file with the right key"
        )
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag

    try:
        sealed = base64.urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4))
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return cipher.decrypt(nonce, rest, _PREFIX.encode()).decode()
    except (InvalidTag, binascii.Error, UnicodeDecodeError):
        raise _wrong(f"{path} is damaged: it was modified. Restore it from a backup") from None


def key_id(key: bytes) -> str:
    """Return the id of an encryption key."""
    return hashlib.sha256(key).hexdigest()[:8]


def _cipher(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ModuleNotFoundError as missing:
        raise _wrong(
            f"{VARIABLE} needs the package cryptography: pip install 'nomos[server]'"
        ) from missing
    return AESGCM(key)


def _wrong(message: str) -> ConfigurationError:
    return ConfigurationError(message, setting=VARIABLE)
