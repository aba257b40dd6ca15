"""The proxy of a request, chosen by the usual environment variables.

`HTTPS_PROXY` and, after it, `ALL_PROXY` name it; the lower-case names take precedence, as in curl.
Only https goes through a proxy, in a tunnel that it cannot read: plain http would reveal the API
key. Loopback never uses a proxy. `NO_PROXY` lists exceptions separated by commas: `*`, names (with
their subdomains), addresses, and networks such as `10.0.0.0/8`; each may have a port. Entries of
another form are ignored. netrc files and desktop settings are not read.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from nomos._io.urls import is_loopback
from nomos.errors import ConfigurationError

VARIABLES: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
EXCEPTIONS: Final = ("no_proxy", "NO_PROXY")
SCHEMES: Final = ("http", "https", "socks5", "socks5h")
MAX_EXCEPTIONS: Final = 10_000
PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True)
class Proxy:
    """A proxy: `url` is without credentials, `variable` is the variable that names it."""

    url: str
    variable: str
    auth: tuple[bytes, bytes] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"the proxy {self.url} of {self.variable}"


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a checked URL, or None; `ConfigurationError` names the variable."""
    parts = urlsplit(url)
    if parts.scheme != "https" or is_loopback(url):
        return None
    variable = next((name for name in VARIABLES if environ.get(name, "").strip()), None)
    if variable is None or _excepted(parts.hostname or "", parts.port or 443, environ):
        return None
    return _proxy(environ[variable].strip(), variable)


def _proxy(text: str, variable: str) -> Proxy:
    """Parse a proxy's URL; one without a scheme is http, as in other programs."""
    full = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(full)
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme)
        printable = full.isascii() and full.isprintable() and " " not in full
        good = bool(host) and printable and parts.scheme in SCHEMES
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError(
            f"{variable} must be the URL of a proxy, such as http://proxy.example.com:3128 (one of "
            f"{', '.join(SCHEMES)}). Correct it, or name the control plane's host in NO_PROXY",
            setting=variable,
        )
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(
            f"{variable} names a SOCKS proxy, which needs a package that is not installed: "
            "pip install socksio. Or name the control plane's host in NO_PROXY",
            setting=variable,
        )
    shown = f"[{host}]" if ":" in (host or "") else host
    auth = None
    if parts.username is not None:
        auth = (unquote_to_bytes(parts.username), unquote_to_bytes(parts.password or ""))
    return Proxy(f"{parts.scheme}://{shown}:{port}", variable, auth)


def _excepted(host: str, port: int, environ: Mapping[str, str]) -> bool:
    text = next((environ[name] for name in EXCEPTIONS if environ.get(name, "").strip()), "")
    entries = (each.strip() for each in text.split(",")[:MAX_EXCEPTIONS])
    return any(_covers(each.lower(), host.removesuffix("."), port) for each in entries if each)


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether one entry of NO_PROXY covers this host and port."""
    if entry == "*":
        return True
    name, port_given = _split(entry)
    if port_given not in ("", str(port)):
        return False
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:  # one of the two is a name
        name = name.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    except TypeError:  # one of the two is IPv4
        return False


def _split(entry: str) -> tuple[str, str]:
    """Return an entry as host (or network) and port; an IPv6 address may be in brackets."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""
