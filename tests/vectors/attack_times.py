"""Attacks with a token before or after its time: at each hop and limit, with each leeway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vectors.attack_base import Attack, Good
from vectors.attack_places import (
    CHAIN,
    LENGTHS,
    RICH_CHAIN,
    RICH_USE,
    USE,
    Place,
    everywhere,
)
from vectors.forge import NOW, Payload
from vectors.making import Forge, saying

ABOUT: Final = (
    "Before the first second, from the last one on, at each hop, with and without leeway."
)

HOUR: Final = 3600


def attacks() -> Iterator[Attack]:
    for length in LENGTHS:
        for good in (RICH_CHAIN[length], RICH_USE[length]):
            for hop in range(length):
                yield from _late(good, hop)
                yield from _early(good, hop)
    for length in LENGTHS:
        yield from _late_use(USE[length])
    yield from everywhere(LATE, "expired", at=links, read=False)
    yield from everywhere(EARLY, "not_yet_valid", at=links, read=False)
    yield from everywhere(LATE_USE, "expired", at=uses, read=False)
    yield from everywhere(EARLY_USE, "not_yet_valid", at=uses, read=False)


def _late(good: Good, hop: int) -> Iterator[Attack]:
    """Each link of a rich chain ends before its parent: by then this is the first that ended."""
    ends = good.links[hop]["exp"]
    ways: dict[str, Payload] = {
        "the second it ends": {"now": ends},
        "the second it ends, with all leeway": {"now": ends + 60, "leeway": 60},
        "the second it ends, with a second's leeway": {"now": ends + 1, "leeway": 1},
    }
    for name, changes in ways.items():
        yield good.attack(name, f"hop {hop}", "expired", hop, good.request(**changes))


def _early(good: Good, hop: int) -> Iterator[Attack]:
    """And begins after its parent: by then this is the first that has not begun."""
    begins = good.links[hop]["nbf"]
    ways: dict[str, Payload] = {
        "a second before it begins": {"now": begins - 1},
        "a second before it begins, with all leeway": {"now": begins - 61, "leeway": 60},
    }
    for name, changes in ways.items():
        yield good.attack(name, f"hop {hop}", "not_yet_valid", hop, good.request(**changes))


def _late_use(good: Good) -> Iterator[Attack]:
    last = len(good.links)
    ways: dict[str, Payload] = {
        "the second it ends": {"now": NOW + 60},
        "the second it ends, with all leeway": {"now": NOW + 120, "leeway": 60},
    }
    for name, changes in ways.items():
        yield good.attack(name, "the invocation", "expired", last, good.request(**changes))


def links(turn: int) -> Iterator[Place]:
    for good in (CHAIN[1], CHAIN[2], CHAIN[3], USE[2]):
        for hop in range(len(good.links)):
            yield good, hop
    yield CHAIN[8], 1 + turn % 7


def uses(turn: int) -> Iterator[Place]:
    for good in (USE[1], RICH_USE[1], RICH_USE[2]):
        yield good, len(good.links)


LATE: Final[dict[str, Forge]] = {
    "it ends now": saying(exp=NOW),
    "it ended a second ago": saying(exp=NOW - 1),
    "it ended long ago": saying(nbf=0, exp=1),
}

EARLY: Final[dict[str, Forge]] = {
    "it begins in a second": saying(nbf=NOW + 1),
    "it begins in an hour": saying(nbf=NOW + HOUR, exp=NOW + 2 * HOUR),
    "it begins in the year 9999": saying(nbf=253402300798, exp=253402300799),
}

LATE_USE: Final[dict[str, Forge]] = {
    "its use ends now": saying(exp=NOW),
    "its use ended a second ago": saying(exp=NOW - 1),
    "its use ended long ago": saying(iat=0, exp=1),
}

EARLY_USE: Final[dict[str, Forge]] = {
    "its use begins in a second": saying(iat=NOW + 1),
    "its use begins in an hour": saying(iat=NOW + HOUR, exp=NOW + 2 * HOUR),
}
