"""The id of a request: the caller's `x-request-id` if it is well-formed, or a new one.

The rule is the same for the control plane, the PDP and services, so that one id identifies a
request in all of them. The id is repeated in headers, logs, pages and the audit log. It is short,
without spaces, and without characters that have a meaning in HTML, in quotes or in a shell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

HEADER: Final = "x-request-id"
PATTERN: Final = r"[A-Za-z0-9._:;,=+/@|~-]{1,128}"
"""Ids in use are words: UUIDs, `trace:123`, base64, `Root=1-67891233-abc;Sampled=1`."""

RANDOM_BYTES: Final = 12

_FORM: Final = re.compile(PATTERN)


def choose(sent: Sequence[str], token_hex: Callable[[int], str]) -> str:
    """Return the id of a request with these `x-request-id` headers; `token_hex` makes a new one.

    Several headers are ambiguous, so the request gets a new id.
    """
    if len(sent) == 1 and _FORM.fullmatch(sent[0]):
        return sent[0]
    return f"req_{token_hex(RANDOM_BYTES)}"
