"""The URLs that may be called: one rule for guards, verifiers, the command line and the server.

API keys and tokens are sent over https, or in plain text inside this machine. Plain http to another
host is refused, unless the user names that host: by `allow_insecure=` of guards and verifiers, by
`--insecure-host` on commands that have `--control-url`, or by `NOMOS_ALLOW_INSECURE_HOSTS` for all
of them and the server. Loopback is 127.0.0.0/8, ::1 and the name `localhost`, in these spellings
only: no other name is resolved to find out, and `localhost.` or an IPv4-mapped address counts as
another host.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from nomos.errors import ConfigurationError

INSECURE_HOSTS: Final = "NOMOS_ALLOW_INSECURE_HOSTS"
"""Hosts that may be called over plain http, separated by commas."""

MAX_URL: Final = 2048
MAX_HOSTS: Final = 1000
LOOPBACK: Final = IPv4Network("127.0.0.0/8")
LOOPBACK_6: Final = IPv6Address("::1")

_NETLOC: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def checked_url(
    url: str, *, setting: str, allow_insecure: Iterable[str] = (), query: bool = False
) -> str:
    """Return a base URL without its trailing slash, if it may be called.

    `setting` names where the URL comes from. `query` permits a query, as webhooks have. Raises
    `ConfigurationError` for anything but https, http on loopback, and http to a host that is
    permitted. The message does not contain the URL, which may hold a password.
    """
    parts = _parts(url)
    if parts is None or parts.fragment or (parts.query and not query):
        without = "password or fragment" if query else "password, query or fragment"
        raise ConfigurationError(
            f"{setting} must be an http(s) URL such as https://nomos.example.com, without spaces, "
            f"user name, {without}, and with addresses written in full (127.0.0.1)",
            setting=setting,
        )
    host = parts.hostname or ""
    if parts.scheme == "http" and not _is_loopback(host) and host not in named(allow_insecure):
        raise ConfigurationError(
            f"{setting} is plain http to {host}: keys and tokens could be read in transit. Use "
            f"https, or permit this host by name: {_permission(setting, host)}",
            setting=setting,
        )
    return url.rstrip("/")


def _permission(setting: str, host: str) -> str:
    """Return how to permit a host for this setting; only ways that the setting supports."""
    variable = f"{INSECURE_HOSTS}={host}"
    if setting.startswith("--"):
        return f"--insecure-host {host}, or {variable}"
    return variable if setting.isupper() else f"allow_insecure=[{host!r}], or {variable}"


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine, without resolving any name."""
    parts = _parts(url)
    return parts is not None and _is_loopback(parts.hostname or "")


def named(
    allow_insecure: Iterable[str] = (), environ: Mapping[str, str] | None = None
) -> Collection[str]:
    """Return the hosts for plain http, given or in the variable. Raises `ConfigurationError`."""
    if isinstance(allow_insecure, str | bytes) or not isinstance(allow_insecure, Iterable):
        raise ConfigurationError(
            'allow_insecure must be a list of host names, such as ["pdp.internal"]',
            setting="allow_insecure",
        )
    text = (os.environ if environ is None else environ).get(INSECURE_HOSTS, "")
    listed = [each.strip() for each in text.split(",") if each.strip()]
    return frozenset(
        [
            *(_host(each, "allow_insecure") for each in allow_insecure),
            *(_host(each, INSECURE_HOSTS) for each in listed[:MAX_HOSTS]),
        ]
    )


def _host(given: object, setting: str) -> str:
    parts = _parts(f"http://{given}") if isinstance(given, str) else None
    bare = isinstance(given, str) and given.count(":") != 1 and "/" not in given
    if parts is None and isinstance(given, str):
        parts = _parts(f"http://[{given}]")
    if not bare or parts is None:
        raise ConfigurationError(
            f"{setting} contains a value that is not a host: use names or addresses, such as "
            "pdp.internal, without scheme, port or wildcard",
            setting=setting,
        )
    return parts.hostname or ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return IPv4Address(host) in LOOPBACK
    except AddressValueError:
        pass
    try:
        return IPv6Address(host) == LOOPBACK_6
    except AddressValueError:
        return False


def _parts(url: object) -> SplitResult | None:
    """Split a URL that all parsers read in the same way; None for any other."""
    if not isinstance(url, str) or not url.isascii() or not url.isprintable():
        return None
    if " " in url or "\\" in url or len(url) > MAX_URL:
        return None
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return None
    good = parts.scheme in ("http", "https") and _NETLOC.fullmatch(parts.netloc) and port != 0
    return parts if good and _is_host(host) else None


def _is_host(host: str) -> bool:
    """Whether it is a complete address, or a name that can be resolved (RFC 1035, section 2.3.4).

    `127.1`, `0x7f000001` and `2130706433` are addresses for some resolvers and names for others.
    """
    if ":" in host:
        try:
            IPv6Address(host)
        except AddressValueError:
            return False
        return True
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            IPv4Address(host)
        except AddressValueError:
            return False
        return True
    return all(0 < len(label) < 64 for label in labels)
