"""Attacks on the service of a chain: `meta.audience`, and closed grants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vectors.attack_base import PEOPLE, Attack, Good
from vectors.attack_places import LENGTHS, RICH_USE, USE
from vectors.forge import HERE, ISSUER, SERVICE, UNRELATED, Payload
from vectors.making import Forge, holding

ABOUT: Final = (
    "Chains for other services or for a PDP, and words below the root that say otherwise."
)

ELSEWHERE: Final = "audience_mismatch"

SERVICES: Final[dict[str, Any]] = {
    "another service": UNRELATED.did,
    "the issuer": ISSUER.did,
    "the agent": PEOPLE[1].did,
    "nothing": None,
    "an empty text": "",
    "true": True,
    "the service in a list": [SERVICE.did],
    "the service in an object": {"did": SERVICE.did},
    "the service and a space": f"{SERVICE.did} ",
    "the service in upper case": SERVICE.did.upper(),
    "the beginning of the service": SERVICE.did[:-1],
    "any service": "*",
}

OPEN: Final[dict[str, Any]] = {
    "false": False,
    "null": None,
    "a number": 1,
    "a text": "true",
    "a list": [True],
    "an object": {"closed": True},
}

ASKED: Final[dict[str, Payload]] = {
    "a service": {},
    "a service that says so": {"pdp": False},
    "a PDP": {"pdp": True},
    "one that accepts the hosted service": {"allow_missing_prf": True},
}


def attacks() -> Iterator[Attack]:
    for good in (USE[1], RICH_USE[2]):
        yield from _other_service(good)
        yield from _open(good)
    for length in LENGTHS:
        yield from _narrowed(USE[length])
    yield from _below(USE[2])
    yield from _below(USE[3])


def _without(*members: str) -> Forge:
    def forge(making: Any) -> str:
        meta = making.payload["meta"]
        left = {name: value for name, value in meta.items() if name not in members}
        return str(making.saying(meta=left).token)

    return forge


def _other_service(good: Good) -> Iterator[Attack]:
    for name, value in SERVICES.items():
        for who, asked in ASKED.items():
            request = good.request({0: holding("audience", value)}, **asked)
            yield good.attack(f"root: for {name}, at {who}", "hop 0", ELSEWHERE, 0, request)
    for name, forge in {
        "no service": _without("audience"),
        "no service, nor closed": _without("audience", "closed"),
        "a service under another name": lambda m: (
            m.saying(meta={"Audience": SERVICE.did, "closed": True}).token
        ),
        "a service in the prototype": lambda m: m.saying(meta={"__proto__": HERE}).token,
        "a service one level down": lambda m: m.saying(meta={"meta": HERE}).token,
        "no meta at all": lambda m: m.saying(meta=...).token,
    }.items():
        for who, asked in ASKED.items():
            if asked.get("allow_missing_prf"):
                continue
            request = good.request({0: forge}, **asked)
            yield good.attack(f"root: for {name}, at {who}", "hop 0", ELSEWHERE, 0, request)


def _open(good: Good) -> Iterator[Attack]:
    """A grant for a PDP, which decides again, is refused by services that do not."""
    forgeries = {name: holding("closed", value) for name, value in OPEN.items()}
    forgeries["nothing"] = _without("closed")
    for name, forge in forgeries.items():
        for who, asked in ASKED.items():
            if asked.get("pdp"):
                continue
            request = good.request({0: forge}, **asked)
            yield good.attack(f"root: closed is {name}, at {who}", "hop 0", ELSEWHERE, 0, request)


def _narrowed(good: Good) -> Iterator[Attack]:
    """A link may narrow the chain to a service; then it is good at no other."""
    for hop in range(1, len(good.links)):
        for name, value in list(SERVICES.items())[hop % 2 :: 2]:
            request = good.request({hop: holding("audience", value)}, pdp=True)
            yield good.attack(f"link: for {name}", f"hop {hop}", ELSEWHERE, hop, request)


def _below(good: Good) -> Iterator[Attack]:
    """A later link cannot claim what the root does not."""
    for hop in range(1, len(good.links)):
        for name, left in {"the service": ("audience",), "that it is closed": ("closed",)}.items():
            said = {hop: lambda m: m.saying(meta=HERE).token}
            request = good.request({0: _without(*left), **said})
            yield good.attack(
                f"link: says {name} for the root", f"hop {hop}", ELSEWHERE, 0, request
            )
