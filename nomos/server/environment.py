"""Settings from environment variables: URLs of providers and webhook, credentials, host names.

`NOMOS_<PROVIDER>_URL` overrides a provider's base URL, and `NOMOS_<PROVIDER>_CA_FILE` names the
authorities (PEM) that its certificate is checked against; `NOMOS_<PROVIDER>_TOKEN`, or the file
that `NOMOS_<PROVIDER>_TOKEN_FILE` names, holds the credential that only the provider receives.
`NOMOS_WEBHOOK_URL`, with `NOMOS_WEBHOOK_SECRET` or `NOMOS_WEBHOOK_SECRET_FILE`, receives messages
about approvals. All of these are https, or on this machine; `NOMOS_ALLOW_INSECURE_HOSTS` names
other hosts for which plain http is accepted. `NOMOS_HOST_NAMES` lists the hosts that requests
may be for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nomos._io.proxies import proxy_for
from nomos._io.tls import client_context
from nomos._io.urls import checked_url
from nomos._limits import MAX_LINKS
from nomos.errors import ConfigurationError
from nomos.models import MAX_CHAIN_DEPTH, Secret
from nomos.resources import Catalog
from nomos.server.connections.hosts import SETTING as HOST_NAMES
from nomos.server.settings import UpstreamTarget, Webhook, variable_of
from nomos.webhooks import checked_secret

BASE_URLS: Final = {"github": "https://api.github.com"}
MAX_CREDENTIAL: Final = 16 * 1024

MAX_DEPTH: Final = "NOMOS_MAX_CHAIN_DEPTH"
WEBHOOK_URL: Final = "NOMOS_WEBHOOK_URL"
WEBHOOK_KEY: Final = "NOMOS_WEBHOOK_SECRET"
WEBHOOK_KEY_FILE: Final = "NOMOS_WEBHOOK_SECRET_FILE"


def upstreams(catalog: Catalog, environ: Mapping[str, str]) -> dict[str, UpstreamTarget]:
    """Return the target of every provider whose base URL is known or given."""
    found: dict[str, UpstreamTarget] = {}
    for name, provider in catalog.items():
        variable = variable_of(name, "URL")
        url = environ.get(variable) or BASE_URLS.get(name)
        if provider.handler == "http" and url:
            found[name] = UpstreamTarget(
                checked_url(url, setting=variable),
                _secret(environ, variable_of(name, "TOKEN"), variable_of(name, "TOKEN_FILE")),
                _authorities(environ, variable_of(name, "CA_FILE")),
            )
    return found


def max_chain_depth(environ: Mapping[str, str]) -> int:
    """Return `NOMOS_MAX_CHAIN_DEPTH`, or the default if it is not set."""
    text = environ.get(MAX_DEPTH)
    if not text:
        return MAX_CHAIN_DEPTH
    if re.fullmatch(r"[0-9]{1,2}", text) and 1 <= int(text) <= MAX_LINKS:
        return int(text)
    raise ConfigurationError(
        f"{MAX_DEPTH} must be a number from 1 to {MAX_LINKS}", setting=MAX_DEPTH
    )


def named_hosts(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names in `NOMOS_HOST_NAMES`, unchanged."""
    return tuple(name for name in environ.get(HOST_NAMES, "").split(",") if name.strip())


def webhook(environ: Mapping[str, str]) -> Webhook | None:
    """Return the webhook that receives messages about approvals; None if there is none."""
    url = environ.get(WEBHOOK_URL)
    secret = _secret(environ, WEBHOOK_KEY, WEBHOOK_KEY_FILE)
    if not url:
        if secret is not None:
            raise ConfigurationError(
                f"the webhook's secret is set without its URL: set {WEBHOOK_URL} too",
                setting=WEBHOOK_URL,
            )
        return None
    checked_url(url, setting=WEBHOOK_URL, query=True)
    proxy_for(url, environ)
    if secret is None:
        raise ConfigurationError(
            f"{WEBHOOK_URL} needs {WEBHOOK_KEY} or {WEBHOOK_KEY_FILE}, with which messages "
            "are signed: make one with `openssl rand -hex 32`",
            setting=WEBHOOK_KEY,
        )
    checked_secret(secret, setting=WEBHOOK_KEY)
    return Webhook(url, secret)


def _authorities(environ: Mapping[str, str], variable: str) -> str | None:
    """Return the file of authorities that a variable names; raises if it cannot be used."""
    file = environ.get(variable) or None
    if file is not None:
        client_context(environ, ca_file=file, setting=variable)
    return file


def _secret(environ: Mapping[str, str], variable: str, named: str) -> Secret | None:
    """Return the value of one variable, or the content of the file that another names."""
    value, file = environ.get(variable), environ.get(named)
    if value and file:
        raise ConfigurationError(f"{variable} and {named} are both set; unset one", setting=named)
    if file:
        value, variable = _content(file, named), named
    if not value:
        return None
    if not value.isascii() or not value.isprintable() or " " in value:
        around = len(value.split()) == 1 and value.split()[0].isascii()
        what = ". Remove the line break before or after it" if around else ""
        raise ConfigurationError(
            f"{variable} must be printable ASCII without spaces{what}", setting=variable
        )
    return Secret(value)


def _content(file: str, variable: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_CREDENTIAL + 1)
        text = content.decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        # A decoding error contains what was read; a credential must not be shown.
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise ConfigurationError(
            f"{variable}={file} cannot be read: {why}", setting=variable
        ) from None
    if not text or len(content) > MAX_CREDENTIAL:
        raise ConfigurationError(
            f"{variable}={file} must contain one credential of at most {MAX_CREDENTIAL} bytes",
            setting=variable,
        )
    return text
