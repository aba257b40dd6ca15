"""Attacks with revoked tokens, and with untrusted roots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from vectors.attack_base import PEOPLE, Attack, Good
from vectors.attack_places import CHAIN, LENGTHS, RICH_CHAIN, RICH_USE, USE
from vectors.forge import RESEARCHER, SERVICE, UNRELATED, Payload, cid

ABOUT: Final = (
    "Revoked at each hop, by cid, key, lineage or app; in a stale view; a stranger's root."
)


def attacks() -> Iterator[Attack]:
    for length in LENGTHS:
        for good in (CHAIN[length], USE[length], RICH_CHAIN[length], RICH_USE[length]):
            yield from _revoked(good)
            yield from _stale(good)
            yield from _untrusted(good)
            yield from _holders(good)
    for good in (heir(CHAIN[1]), heir(CHAIN[3]), heir(USE[2])):
        yield from _lineage(good)
    for good in (CHAIN[1], USE[1], CHAIN[3], USE[2]):
        yield from _granted(good)


def _revoked(good: Good) -> Iterator[Attack]:
    ask = good.request()
    cids = [cid(token) for token in good.tokens()]
    if good.use:
        cids.append(cid(ask["invocation"]))
    for hop, known in enumerate(cids):
        issuer = PEOPLE[hop].did
        ways: dict[str, Payload] = {
            "by cid": {"revoked": [known]},
            "by issuer": {"revoked": [issuer]},
            "among others": {"revoked": [UNRELATED.did, "f" * 64, known, "e" * 64]},
            "in an old view": {"revoked": [known], "revocations_age": 99},
        }
        for name, changes in ways.items():
            yield good.attack(f"revoked: {name}", f"hop {hop}", "revoked", hop, {**ask, **changes})


def _holders(good: Good) -> Iterator[Attack]:
    """Who has not signed anything yet: the agent at the end, or the service itself."""
    last, hop = (
        (SERVICE, len(good.links)) if good.use else (PEOPLE[len(good.links)], len(good.links) - 1)
    )
    request = good.request(revoked=[last.did])
    yield good.attack("revoked: by audience", f"hop {hop}", "revoked", hop, request)


def _granted(good: Good) -> Iterator[Attack]:
    """Whom and what the issuer says that it granted the root to and by."""
    first = good.links[0]
    for name, (view, known) in GRANTED.items():
        if "approval" in view and (good.use or len(good.links) > 1):
            continue  # an approved delegation is not delegated further, and is for one call
        root = {**first, "meta": {**first.get("meta", {}), **view}}
        known_one = replace(good, name=f"{name} {good.name}", links=(root, *good.links[1:]))
        request = known_one.request(revoked=[UNRELATED.did, known])
        yield known_one.attack(f"revoked: {name}", "hop 0", "revoked", 0, request)


GRANTED: Final[dict[str, tuple[Payload, str]]] = {
    "an app": ({"app_id": "app_1"}, "app_1"),
    "an approval": ({"approval": {"id": "env_1"}}, "env_1"),
    "the first of a lineage": ({"lineage": {"root": RESEARCHER.did}}, RESEARCHER.did),
    "one of a lineage": ({"lineage": {"invokedBy": ["did:a", "did:b"]}}, "did:b"),
    "another app": ({"lineage": {"apps": ["app_1", "app_2"]}}, "app_2"),
}
"""By what is revoked: what the root says, and the name in it."""


def _stale(good: Good) -> Iterator[Attack]:
    """Nothing is known to be revoked, and not enough is known."""
    ways: dict[str, Payload] = {
        "a second too old": {"revocations_age": 6},
        "a day old": {"revocations_age": 86400},
        "where none may be": {"revocations_age": 1, "revocations_max_age": 0},
        "that names others": {"revocations_age": 6, "revoked": [UNRELATED.did, "f" * 64]},
    }
    for name, changes in ways.items():
        request = good.request(**changes)
        yield good.attack(f"stale: a view {name}", "all", "revocations_stale", None, request)


def _untrusted(good: Good) -> Iterator[Attack]:
    for name, trusted in {
        "nobody": [],
        "a stranger": [UNRELATED.did],
        "the agents alone": [party.did for party in PEOPLE[1:]],
        "the service alone": [SERVICE.did],
    }.items():
        request = good.request(trusted_issuers=trusted)
        yield good.attack(f"trust: in {name}", "hop 0", "untrusted_issuer", 0, request)


LINEAGE: Final = tuple(f"{number:064x}" for number in range(1, 4))


def heir(good: Good) -> Good:
    """The same chain, whose root took the place of three delegations."""
    first = {**good.links[0], "prf": list(LINEAGE)}
    return replace(good, name=f"inherited {good.name}", links=(first, *good.links[1:]))


def _lineage(good: Good) -> Iterator[Attack]:
    for number, ancestor in enumerate(LINEAGE):
        request = good.request(revoked=[ancestor])
        yield good.attack("revoked: an ancestor", f"ancestor {number}", "revoked", 0, request)
    deep = good.request(max_depth=len(good.links) + len(LINEAGE) - 1)
    yield good.attack("depth: ancestors count", "hop 0", "chain_too_deep", 0, deep)
