"""Limits that several parts share, each defined once.

`tests/test_limits.py` compares them with those of the signing binary.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024

MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader reads exactly (RFC 8259, section 6)."""

FIRST_WITH_EXPONENT: Final = 10**21
"""From here on numbers are written with an exponent, and do not claim to be exact integers."""

MAX_LINKS: Final = 32
"""The largest number of delegations in a chain that a verifier can be configured to accept.

It is also the most that the signing binary reads. The default is `MAX_CHAIN_DEPTH`.
"""

MAX_TOKEN: Final = 64 * KIB
"""Characters of a token, with the chain of an invocation; the binary rejects a longer one."""

MAX_HEAD: Final = 96 * KIB
"""Bytes of a request's line and headers: the longest token, and room for the rest."""

MAX_NESTING: Final = 32
"""Levels of the JSON in a token."""

MAX_STATEMENTS: Final = 100
"""Statements in one list of UCAN policy; nested ones are limited by the size of all."""

MAX_REQUEST_NESTING: Final = 16
"""Levels of a request's JSON; in a token the deepest of them is a few levels deeper."""

MAX_BODY: Final = 64 * KIB
"""Bytes of a request's body at the control plane."""

MAX_BODY_WITH_CHAIN: Final = 512 * KIB
"""Bytes of a body that may contain a chain, or a call that is compared with a token."""

MAX_POLICIES: Final = 1024 * KIB
"""Bytes of a body that contains policies, and of their text."""
