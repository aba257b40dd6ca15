"""Which URLs a guard or a verifier may be pointed at."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from nomos.errors import ConfigurationError


def checked_url(url: str, *, setting: str) -> str:
    """Return a base URL without its trailing slash; raises `ConfigurationError` for any other.

    The message does not repeat the URL, which may hold a password.
    """
    if not _is_url(url):
        raise ConfigurationError(
            f"{setting} must be an http(s) URL such as https://nomos.example.com, without a user "
            "name, password, query or fragment",
            setting=setting,
        )
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_url(url: object) -> bool:
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and port != 0
        and "@" not in parts.netloc
        and not (parts.query or parts.fragment)
    )
