"""Hosts in URL constraints: canonical spelling only, and public ones unless `allow_private`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

from nomos._pol.values import refuse

SCHEMES: Final[Mapping[str, int]] = {"https": 443, "http": 80}
"""Each scheme with the port that its URLs leave out."""

MAX_HOST: Final = 253

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")

_MORE: Final = re.compile(r"/|^[^:\[]*:[0-9]*$")
"""Parts of a URL other than its host: a scheme, a path, or a port."""

_NEARBY: Final = frozenset(
    (
        *("localhost", "localdomain", "local", "internal", "intranet", "private", "lan", "home"),
        *("corp", "svc"),
    )
)
"""Last labels of names in a local network."""

_SPECIAL: Final = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("192.0.0.0/24", "192.88.99.0/24"),
        *("64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "3fff::/20", "5f00::/16"),
    )
)
"""Networks that are not global, or whose addresses stand for others (IANA special-purpose address
registries), beyond those that every version of Python knows."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def host(value: object, where: str, *, allow_private: bool) -> str:
    """Return a host as URLs write it; raise `ConfigurationError` for any other spelling.

    Clients read numbers in any base as addresses; here only the form `127.0.0.1` is accepted.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_HOST:
        refuse(where, 'must have a host such as "api.example.com"')
    if not isinstance(allow_private, bool):
        refuse(where, "must have True or False for allow_private")
    if not value.isascii():
        refuse(where, "must have an ASCII host; write other letters as punycode (xn--…)")
    if _MORE.search(value):
        refuse(
            where,
            'must have the host alone, such as "api.example.com": scheme, port and path_prefix '
            "are arguments of their own",
        )
    literal = _literal(value, where)
    if literal is not None:
        if not allow_private and not _is_global(literal):
            refuse(where, f"has a host, {literal}, that is not a public address; {_ALLOW}")
        return f"[{literal}]" if literal.version == 6 else str(literal)
    labels = value.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        refuse(
            where,
            "must have a host of lower-case letters, digits, hyphens and dots: no port, user, "
            "path, star, or dot at its end",
        )
    nearby = len(labels) == 1 or labels[-1] in _NEARBY or labels[-2:] == ["home", "arpa"]
    if nearby and not allow_private:
        refuse(where, f"has a host, {value}, that names a machine of a local network; {_ALLOW}")
    return value


def _literal(value: str, where: str) -> Address | None:
    """Return the address that a host is, None for a name; raise for a non-canonical spelling."""
    if ":" in value or value.startswith("["):
        bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        kind: type[Address] = ipaddress.IPv6Address
    elif _NUMERIC.fullmatch(value.rsplit(".", 1)[-1]):
        bare, kind = value, ipaddress.IPv4Address
    else:
        return None
    try:
        address = kind(bare)
    except ValueError:
        address = None
    if address is None or str(address) != bare or "%" in bare:
        refuse(where, "must have an address in canonical form, as 192.0.2.1 or [2001:db8::1]")
    return address


def _is_global(address: Address) -> bool:
    """Whether an address is public, and stands for no other address."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None
        or address.sixtofour is not None
        or address.teredo is not None
        or address.is_site_local
    ):
        return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


_ALLOW = "pass allow_private=True to permit it"
