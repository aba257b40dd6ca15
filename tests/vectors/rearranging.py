"""Chains of valid links in another order or number."""

# ruff: noqa: ARG005 - the functions of a table have one shape

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

Rearrange = Callable[[list[str], int], list[str]]
"""Takes the tokens of a chain and the hop where something happens to it."""

REARRANGEMENTS: Final[Mapping[str, Rearrange]] = {
    "dropped": lambda links, hop: links[:hop] + links[hop + 1 :],
    "doubled": lambda links, hop: [*links[: hop + 1], *links[hop:]],
    "swapped with the one before": lambda links, hop: [
        *links[: max(hop, 1) - 1],
        *links[max(hop, 1) - 1 : max(hop, 1) + 1][::-1],
        *links[max(hop, 1) + 1 :],
    ],
    "cut off": lambda links, hop: links[:hop],
    "in reverse": lambda links, hop: links[::-1],
    "the first moved to the end": lambda links, hop: [*links[1:], *links[:1]],
    "the last moved to the front": lambda links, hop: [*links[-1:], *links[:-1]],
    "only the first and the last": lambda links, hop: [*links[:1], *links[-1:]],
    "the root alone, many times": lambda links, hop: links[:1] * len(links),
    "the whole chain twice": lambda links, hop: links * 2,
    "the last nine times": lambda links, hop: [*links[:-1], *links[-1:] * 9],
}
