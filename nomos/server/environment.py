"""What the server takes from the environment: where providers are, and their credentials.

`NOMOS_<PROVIDER>_URL` overrides a provider's base URL; `NOMOS_<PROVIDER>_TOKEN`, or the file
that `NOMOS_<PROVIDER>_TOKEN_FILE` names, holds the credential that only the provider sees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from nomos.errors import ConfigurationError
from nomos.models import MAX_CHAIN_DEPTH, Secret
from nomos.resources import Catalog
from nomos.server.pdp.credentials import setting
from nomos.server.settings import DEEPEST_CHAIN, UpstreamTarget

BASE_URLS: Final = {"github": "https://api.github.com"}
MAX_TOKEN: Final = 16 * 1024

MAX_DEPTH: Final = "NOMOS_MAX_CHAIN_DEPTH"


def upstreams(catalog: Catalog, environ: Mapping[str, str]) -> dict[str, UpstreamTarget]:
    """Return the target of every provider whose base URL is known or given."""
    found: dict[str, UpstreamTarget] = {}
    for name, provider in catalog.items():
        variable = setting(name, "URL")
        url = environ.get(variable) or BASE_URLS.get(name)
        if provider.handler == "http" and url:
            found[name] = UpstreamTarget(_checked(url, variable), _token(environ, name))
    return found


def max_chain_depth(environ: Mapping[str, str]) -> int:
    """Return `NOMOS_MAX_CHAIN_DEPTH`, or the default when it is not set."""
    text = environ.get(MAX_DEPTH)
    if not text:
        return MAX_CHAIN_DEPTH
    if re.fullmatch(r"[0-9]{1,2}", text) and 1 <= int(text) <= DEEPEST_CHAIN:
        return int(text)
    raise ConfigurationError(
        f"{MAX_DEPTH} must be a number from 1 to {DEEPEST_CHAIN}", setting=MAX_DEPTH
    )


def _checked(url: str, variable: str) -> str:
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        )
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError(
            f"{variable} must be an http(s) URL without a user name", setting=variable
        )
    return url.rstrip("/")


def _token(environ: Mapping[str, str], provider: str) -> Secret | None:
    variable, named = setting(provider, "TOKEN"), setting(provider, "TOKEN_FILE")
    value, file = environ.get(variable), environ.get(named)
    if value and file:
        raise ConfigurationError(f"{variable} and {named} are both set; unset one", setting=named)
    if file:
        value, variable = _content(file, named), named
    if not value:
        return None
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigurationError(
            f"{variable} must be one word of printable ASCII", setting=variable
        )
    return Secret(value)


def _content(file: str, variable: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_TOKEN + 1)
        text = content.decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        # A decoding error holds what was read; a credential must not be repeated.
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise ConfigurationError(
            f"{variable}={file} cannot be read: {why}", setting=variable
        ) from None
    if not text or len(content) > MAX_TOKEN:
        raise ConfigurationError(
            f"{variable}={file} must hold one credential of at most {MAX_TOKEN} bytes",
            setting=variable,
        )
    return text
