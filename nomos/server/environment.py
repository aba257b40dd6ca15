"""What the server takes from the environment: where providers are, and their credentials.

`NOMOS_<PROVIDER>_URL` overrides a provider's base URL; `NOMOS_<PROVIDER>_TOKEN`, or the file
that `NOMOS_<PROVIDER>_TOKEN_FILE` names, holds the credential that only the provider sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from nomos.errors import ConfigurationError
from nomos.models import MAX_CHAIN_DEPTH, Secret
from nomos.resources import Catalog
from nomos.server.settings import UpstreamTarget

BASE_URLS: Final = {"github": "https://api.github.com"}
MAX_TOKEN: Final = 16 * 1024

MAX_DEPTH: Final = "NOMOS_MAX_CHAIN_DEPTH"
DEEPEST: Final = 32
"""Links that a verifier can be told to accept at most."""


def upstreams(catalog: Catalog, environ: Mapping[str, str]) -> dict[str, UpstreamTarget]:
    """Return the target of every provider whose base URL is known or given."""
    found: dict[str, UpstreamTarget] = {}
    for name, provider in catalog.items():
        prefix = f"NOMOS_{name.upper().replace('-', '_')}"
        url = environ.get(f"{prefix}_URL") or BASE_URLS.get(name)
        if provider.handler == "http" and url:
            found[name] = UpstreamTarget(_checked(url, f"{prefix}_URL"), _token(environ, prefix))
    return found


def max_chain_depth(environ: Mapping[str, str]) -> int:
    """Return `NOMOS_MAX_CHAIN_DEPTH`, or the default when it is not set."""
    text = environ.get(MAX_DEPTH)
    if not text:
        return MAX_CHAIN_DEPTH
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= DEEPEST:
        raise ConfigurationError(
            f"{MAX_DEPTH} must be a number from 1 to {DEEPEST}", setting=MAX_DEPTH
        )
    return int(text)


def _checked(url: str, setting: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ConfigurationError(
            f"{setting} must be an http(s) URL without a user name", setting=setting
        )
    return url.rstrip("/")


def _token(environ: Mapping[str, str], prefix: str) -> Secret | None:
    value, file = environ.get(f"{prefix}_TOKEN"), environ.get(f"{prefix}_TOKEN_FILE")
    if value and file:
        raise ConfigurationError(
            f"{prefix}_TOKEN and {prefix}_TOKEN_FILE are both set; unset one",
            setting=f"{prefix}_TOKEN_FILE",
        )
    if file:
        try:
            with Path(file).open("rb") as opened:
                value = opened.read(MAX_TOKEN).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"{prefix}_TOKEN_FILE={file} cannot be read: {error}",
                setting=f"{prefix}_TOKEN_FILE",
            ) from error
    if not value:
        return None
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigurationError(
            f"{prefix}_TOKEN must be one word of printable ASCII", setting=f"{prefix}_TOKEN"
        )
    return Secret(value)
