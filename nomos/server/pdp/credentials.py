"""Base URLs and credentials of providers' upstreams, from settings.

An agent never sees the credential. It leaves this process in one place, the `authorization` header
of a request to the provider's own base URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from nomos.models import Secret
from nomos.server.pdp.statuses import PdpError, unavailable
from nomos.server.settings import UpstreamTarget, variable_of

_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class UpstreamCredential:
    """A provider's upstream: its base URL and the credential for it."""

    base_url: str
    token: Secret
    ca_file: str | None = None


def resolve(provider: str, targets: Mapping[str, UpstreamTarget]) -> UpstreamCredential:
    """Return the upstream of `provider`; a missing or unusable setting is a 503 that names it."""
    target = targets.get(provider)
    if target is None or not target.base_url:
        raise _unavailable(provider, "has no base URL", f"set {variable_of(provider, 'URL')}")
    if not _is_base(target.base_url):
        raise _unavailable(
            provider,
            "has a base URL that is not http(s)://host[/path]",
            f"correct {variable_of(provider, 'URL')}",
        )
    if target.token is None:
        raise _unavailable(
            provider,
            "has no credential",
            f"set {variable_of(provider, 'TOKEN')} or {variable_of(provider, 'TOKEN_FILE')}",
        )
    if not _HEADER_VALUE.fullmatch(target.token.reveal()):
        raise _unavailable(
            provider,
            "has a credential with spaces, line breaks or other characters no header may hold",
            f"correct {variable_of(provider, 'TOKEN')}",
        )
    return UpstreamCredential(target.base_url.rstrip("/"), target.token, target.ca_file)


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and not parts.query
        and not parts.fragment
    )


def _unavailable(provider: str, what: str, fix: str) -> PdpError:
    return unavailable(f"the provider {provider} {what} at this PDP: {fix}")
