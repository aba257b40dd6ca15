"""Identifiers: a prefix for the kind, then a ULID (26 characters that sort by time)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

_CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"


def new_ident(prefix: str, at: int, random: Callable[[int], int] = secrets.randbits) -> str:
    """`prefix_` and a ULID: 48 bits of `at` (milliseconds) and 80 random bits."""
    number = (at & ((1 << 48) - 1)) << 80 | random(80)
    letters = [_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(letters)}"
