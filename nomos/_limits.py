"""Bounds that several parts share, each written once.

`tests/test_limits.py` compares them with those of the signing binary.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024

MAX_LINKS: Final = 32
"""Delegations in a chain that any verifier can be set to accept; `MAX_CHAIN_DEPTH` is the default.

Also the most that the signing binary reads."""

MAX_TOKEN: Final = 64 * KIB
"""Characters of a token, which includes the chain of an invocation. The signing binary neither
reads nor signs a longer one."""

MAX_HEAD: Final = 96 * KIB
"""Bytes of a request's line and headers: the longest token and room for the rest."""

MAX_NESTING: Final = 32
"""Levels of the JSON in a token."""

MAX_REQUEST_NESTING: Final = 16
"""Levels of a request's JSON; in a token the deepest of them is a few levels deeper."""

MAX_BODY: Final = 64 * KIB
"""Bytes of a request's body at the control plane."""

MAX_BODY_WITH_CHAIN: Final = 512 * KIB
"""Bytes of a body that may hold a chain of delegations, or a call that is compared with a token."""

MAX_POLICIES: Final = 1024 * KIB
"""Bytes of a body that holds policies, and of their text."""
