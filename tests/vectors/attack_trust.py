"""Attacks with what was taken back, and by roots that nobody trusts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from vectors.attack_base import PEOPLE, Attack, Good
from vectors.attack_places import CHAIN, LENGTHS, RICH_CHAIN, RICH_USE, USE
from vectors.forge import SERVICE, STRANGER, Payload, cid

ABOUT: Final = "Revoked at each hop, by cid, issuer or lineage; in a stale view; a stranger's root."


def attacks() -> Iterator[Attack]:
    for length in LENGTHS:
        for good in (CHAIN[length], USE[length], RICH_CHAIN[length], RICH_USE[length]):
            yield from _revoked(good)
            yield from _stale(good)
            yield from _untrusted(good)
    for good in (heir(CHAIN[1]), heir(CHAIN[3]), heir(USE[2])):
        yield from _lineage(good)


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
            "among others": {"revoked": [STRANGER.did, "f" * 64, known, "e" * 64]},
            "in an old view": {"revoked": [known], "revocations_age": 99},
        }
        for name, changes in ways.items():
            yield good.attack(f"revoked: {name}", f"hop {hop}", "revoked", hop, {**ask, **changes})


def _stale(good: Good) -> Iterator[Attack]:
    """Nothing is known to be revoked, and not enough is known."""
    ways: dict[str, Payload] = {
        "a second too old": {"revocations_age": 6},
        "a day old": {"revocations_age": 86400},
        "where none may be": {"revocations_age": 1, "revocations_max_age": 0},
        "that names others": {"revocations_age": 6, "revoked": [STRANGER.did, "f" * 64]},
    }
    for name, changes in ways.items():
        request = good.request(**changes)
        yield good.attack(f"stale: a view {name}", "all", "revocations_stale", None, request)


def _untrusted(good: Good) -> Iterator[Attack]:
    for name, trusted in {
        "nobody": [],
        "a stranger": [STRANGER.did],
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
