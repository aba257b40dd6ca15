"""Attacks on the use of a chain: by another holder, elsewhere, for longer, or shortened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vectors.attack_base import PEOPLE, Attack, Good, issued_by, issued_by_neighbour
from vectors.attack_places import CHAIN, LENGTHS, RICH_USE, USE, Place, everywhere
from vectors.forge import ISSUER, NOW, UNRELATED
from vectors.making import Forge, saying
from vectors.rearranging import REARRANGEMENTS

ABOUT: Final = "Invocations by others, for other services, of other commands, and for longer."


def attacks() -> Iterator[Attack]:
    yield from everywhere(BY_OTHERS, "chain_invalid", at=uses, read=False)
    yield from everywhere(FOR_OTHERS, "audience_mismatch", at=uses, read=False)
    yield from everywhere(WIDER, "chain_attenuation_violation", at=rich_uses, read=False)
    for length in LENGTHS:
        yield from _forwarded(USE[length])
        yield from _prefixes(USE[length])
        yield from _held(CHAIN[length])


def uses(turn: int) -> Iterator[Place]:
    yield USE[1], 1
    yield (USE[2], 2) if turn % 2 else (USE[3], 3)
    if turn % 4 == 0:
        yield USE[8], 8


def rich_uses(turn: int) -> Iterator[Place]:
    yield RICH_USE[2], 2
    if turn % 8 == 0:
        yield RICH_USE[3], 3


BY_OTHERS: Final[dict[str, Forge]] = {
    "use: by a stranger": issued_by(UNRELATED),
    "use: by the one who handed it on": issued_by_neighbour(-1),
    "use: by one who was never handed it": issued_by_neighbour(1),
    "use: about a stranger": saying(sub=UNRELATED.did),
    "use: about the agent itself": lambda m: m.saying(sub=m.payload["iss"]).token,
    "use: about the service": lambda m: m.saying(sub=m.payload["aud"]).token,
}

FOR_OTHERS: Final[dict[str, Forge]] = {
    "use: for another service": saying(aud=UNRELATED.did),
    "use: for the issuer": saying(aud=ISSUER.did),
    "use: for the agent itself": lambda m: m.saying(aud=m.payload["iss"]).token,
}

WIDER: Final[dict[str, Forge]] = {
    "use: of the command above": saying(cmd="/github/issue"),
    "use: of the provider": saying(cmd="/github"),
    "use: of a command beside": saying(cmd="/github/issue/create"),
    "use: of a command that begins alike": saying(cmd="/github/issue/lists"),
    "use: of a command that begins alike, with a dash": saying(cmd="/github/issue/list-all"),
    "use: of the beginning of the command": saying(cmd="/github/issue/lis"),
    "use: of another provider": saying(cmd="/gitlab/issue/list"),
    "use: a second longer than the chain": saying(exp=NOW + 301),
    "use: an hour longer than the chain": saying(exp=NOW + 3600),
}

FORGERIES: Final = {**BY_OTHERS, **FOR_OTHERS, **WIDER}


def _forwarded(good: Good) -> Iterator[Attack]:
    """The service that got it, or someone on the way, uses it at another."""
    for name, me in {
        "another service": UNRELATED.did,
        "the issuer": ISSUER.did,
        "the agent": PEOPLE[len(good.links)].did,
    }.items():
        request = good.request(audience=me)
        yield good.attack(
            f"forwarded: to {name}", "the invocation", "audience_mismatch", len(good.links), request
        )


def _prefixes(good: Good) -> Iterator[Attack]:
    """The same agent, with a chain that ends before it."""
    links = good.tokens()
    for kept in range(1, len(links)):
        request = good.about(REARRANGEMENTS["cut off"](links, kept))
        yield good.attack(
            "use: of a shorter chain", f"{kept} links", "chain_invalid", kept, request
        )
    yield good.attack("use: of no chain", "0 links", "chain_invalid", None, good.about([]))


def _held(good: Good) -> Iterator[Attack]:
    """A bare chain that is shown by another than it ends in."""
    for hop, party in enumerate((*PEOPLE[: len(good.links)], UNRELATED)):
        request = good.request(audience=party.did)
        last = len(good.links) - 1
        yield good.attack("held: by another", f"party {hop}", "audience_mismatch", last, request)
    yield good.attack("held: nothing", "0 links", "chain_invalid", None, good.about([]))
