"""Take secrets out of what agents and upstreams say, before anyone else or a record sees it.

Text that looks like a credential becomes `[REDACTED:<kind>]`, in values and in keys. It finds
what has a recognisable form and cannot find what has none.

Every pattern is linear in the text: each either cannot fail after reading more than a bounded
prefix, or stops where the next place begins at which it could start.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

MAX_DEPTH: Final = 32
"""Levels of nesting that are passed on; what lies deeper is replaced as a whole."""

_U: Final = "(?:_|%5[Ff])"
"""An underscore, as it is or as it may stand in a URL."""

PATTERNS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    (
        "github_pat",
        re.compile(
            rf"gh[pousr]{_U}[A-Za-z0-9]{{20,}}|github{_U}pat{_U}(?:[A-Za-z0-9]|{_U}){{20,}}"
        ),
    ),
    ("slack_token", re.compile(r"xox[a-z]-[A-Za-z0-9-]{10,}")),
    (
        "jwt",
        # The header ends before another one could begin, or a text of such would be read again
        # and again from each of them.
        re.compile(
            r"(?<![A-Za-z0-9])eyJ(?:[A-Za-z0-9]|[_-](?!eyJ)){5,}"
            r"\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"
        ),
    ),
    ("aws_access_key", re.compile(r"(?:AKIA|ASIA)[A-Z0-9]{16}")),
    ("google_oauth_token", re.compile(r"ya29\.[A-Za-z0-9_-]{20,}")),
    ("google_api_key", re.compile(r"AIza[A-Za-z0-9_-]{35}")),
    ("gitlab_token", re.compile(r"gl(?:pat|ptt|dt|rt)-[A-Za-z0-9_-]{20,}")),
    ("npm_token", re.compile(rf"npm{_U}[A-Za-z0-9]{{36}}")),
    (
        "stripe_key",
        re.compile(rf"(?<![A-Za-z0-9])[sr]k{_U}(?:live|test){_U}[A-Za-z0-9]{{16,}}"),
    ),
    ("model_api_key", re.compile(r"(?<![A-Za-z0-9-])sk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}")),
    ("nomos_api_key", re.compile(rf"nomos{_U}app{_U}[0-9a-z]{{26}}{_U}[0-9a-z]{{52}}")),
    (
        "private_key",
        re.compile(
            # To the next line of dashes, whatever stands before it: headers, escaped newlines.
            r"-----BEGIN (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----(?:[^-]|-(?!----)){0,16384}"
            r"(?:-----END (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----)?"
        ),
    ),
    # In `https://user:password@host`, as in the address of a database. Both may have an @ of
    # their own: the last one counts.
    ("url_password", re.compile(r"(?<=://)[^\s/:]{0,1024}:[^\s/]{1,1024}(?=@)")),
)


def redact(value: Any, known: Sequence[str] = ()) -> Any:
    """Return a JSON value without secrets; `known` are strings to take out whatever their form."""
    return _redact(value, tuple(secret for secret in known if secret), 0)


def _redact(value: Any, known: tuple[str, ...], depth: int) -> Any:
    if isinstance(value, str):
        return redact_text(value, known)
    if not isinstance(value, dict | list):
        return value
    if depth >= MAX_DEPTH:
        return "[REDACTED:depth]"
    if isinstance(value, list):
        return [_redact(item, known, depth + 1) for item in value]
    return {redact_text(key, known): _redact(item, known, depth + 1) for key, item in value.items()}


def redact_text(text: str, known: tuple[str, ...] = ()) -> str:
    """Return one string without secrets."""
    for secret in known:
        text = text.replace(secret, "[REDACTED:credential]")
    for kind, pattern in PATTERNS:
        text = pattern.sub(f"[REDACTED:{kind}]", text)
    return text
