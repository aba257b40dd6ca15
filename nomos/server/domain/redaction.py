"""Removal of secrets from text and JSON of agents and upstreams, before it is shown or recorded.

Text that looks like a credential becomes `[REDACTED:<kind>]`, in values and in keys. Only secrets
with a recognisable form are found.

Every pattern is linear in the text: each either cannot fail after reading more than a bounded
prefix, or stops where the next place begins at which it could start.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

MAX_DEPTH: Final = 32
"""The maximum nesting depth; a deeper value is replaced as a whole."""

_U: Final = "(?:_|%5[Ff])"  # an underscore, plain or as it may be encoded in a URL

PATTERNS: Final = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (
            "github_pat",
            rf"gh[pousr]{_U}[A-Za-z0-9]{{20,}}|github{_U}pat{_U}(?:[A-Za-z0-9]|{_U}){{20,}}",
        ),
        ("slack_token", r"xox[a-z]-[A-Za-z0-9-]{10,}"),
        (
            "jwt",
            # The header ends before another one could begin; otherwise a text of such headers
            # would be read again from each of them.
            (
                r"(?<![A-Za-z0-9])eyJ(?:[A-Za-z0-9]|[_-](?!eyJ)){5,}"
                r"\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"
            ),
        ),
        ("aws_access_key", r"(?:AKIA|ASIA)[A-Z0-9]{16}"),
        ("google_oauth_token", r"ya29\.[A-Za-z0-9_-]{20,}"),
        ("google_api_key", r"AIza[A-Za-z0-9_-]{35}"),
        ("gitlab_token", r"gl(?:pat|ptt|dt|rt)-[A-Za-z0-9_-]{20,}"),
        ("npm_token", rf"npm{_U}[A-Za-z0-9]{{36}}"),
        ("stripe_key", rf"(?<![A-Za-z0-9])[sr]k{_U}(?:live|test){_U}[A-Za-z0-9]{{16,}}"),
        ("model_api_key", r"(?<![A-Za-z0-9-])sk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}"),
        ("nomos_api_key", rf"nomos{_U}app{_U}[0-9a-z]{{26}}{_U}[0-9a-z]{{52}}"),
        (
            "private_key",
            # Up to the next line of dashes, across headers and escaped newlines.
            (
                r"-----BEGIN (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----(?:[^-]|-(?!----)){0,16384}"
                r"(?:-----END (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----)?"
            ),
        ),
        # In `https://user:password@host`, as in a database's address. User and password may
        # contain an @: the last one counts.
        ("url_password", r"(?<=://)[^\s/:]{0,1024}:[^\s/]{1,1024}(?=@)"),
    )
)


def redact(value: Any, known: Sequence[str] = (), *, depth: int = 0) -> Any:
    """Return a JSON value without secrets and the strings `known`; `depth` is its nesting."""
    if isinstance(value, str):
        return redact_text(value, known)
    if not isinstance(value, dict | list):
        return value
    if depth >= MAX_DEPTH:
        return "[REDACTED:depth]"
    if isinstance(value, list):
        return [redact(item, known, depth=depth + 1) for item in value]
    return {
        redact_text(key, known): redact(item, known, depth=depth + 1) for key, item in value.items()
    }


def redact_text(text: str, known: Sequence[str] = ()) -> str:
    """Return one string without secrets."""
    for secret in filter(None, known):
        text = text.replace(secret, "[REDACTED:credential]")
    for kind, pattern in PATTERNS:
        text = pattern.sub(f"[REDACTED:{kind}]", text)
    return text
