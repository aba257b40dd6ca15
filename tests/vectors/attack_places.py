"""The chains and invocations that attacks change, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from vectors.attack_base import LONG, Attack, Good, plain, rich
from vectors.making import Forge

LENGTHS: Final = (1, 2, 3, LONG)
CHAIN: Final = {length: plain(length) for length in LENGTHS}
USE: Final = {length: plain(length, used=True) for length in LENGTHS}
RICH_CHAIN: Final = {length: rich(length) for length in LENGTHS}
RICH_USE: Final = {length: rich(length, used=True) for length in LENGTHS}

Place = tuple[Good, int]


def places(turn: int) -> Iterator[Place]:
    """Where one mutation is tried: alone, in an invocation, or at one hop of something longer.

    Mutations take turns at the last, so that all of them leave no hop of any length out.
    """
    yield CHAIN[1], 0
    yield USE[1], 1
    if turn % 3 == 0:
        yield longer(turn // 3)


def taken_in_turns(turn: int) -> Iterator[Place]:
    """For many mutations of one kind: each is tried once or twice."""
    yield (USE[1], 1) if turn % 2 else (CHAIN[1], 0)
    if turn % 3 == 0:
        yield longer(turn // 3)


def longer(turn: int) -> Place:
    """One token of something long, another each time."""
    goods = (CHAIN[2], RICH_USE[2], CHAIN[8], RICH_CHAIN[3], CHAIN[3], USE[3], RICH_CHAIN[8])
    good = (*goods, USE[8] if turn % 16 == 15 else USE[2])[turn % 8]
    return good, (turn // 8 + turn % 8) % (good.last + 1)


def everywhere(
    forgeries: Mapping[str, Forge],
    code: str,
    *,
    read: bool = True,
    at: Callable[[int], Iterable[Place]] = places,
) -> Iterator[Attack]:
    """Try each forgery at its places. With `read` it is found before anything else is asked."""
    for turn, (mutation, forge) in enumerate(forgeries.items()):
        for good, hop in at(turn):
            yield good.forged(mutation, hop, forge, code, read=read)
