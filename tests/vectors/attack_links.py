"""Attacks on how links hang together: whose they are, in which order, and how many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vectors.attack_base import LONG, PEOPLE, Attack, Good
from vectors.attack_places import CHAIN, RICH_CHAIN, RICH_USE, USE, Place, everywhere
from vectors.forge import DELEGATION, UNRELATED, cid, delegation, sign
from vectors.making import Forge, Making, holding, saying

ABOUT: Final = "Links dropped, moved, doubled, a sibling's, below an approval; chains too deep."

BROKEN: Final = "chain_invalid"


def attacks() -> Iterator[Attack]:
    for good in (CHAIN[2], CHAIN[3], CHAIN[8], USE[2], USE[3]):
        yield from _moved(good)
        yield from _foreign(good)
    for good in (CHAIN[2], CHAIN[3], USE[2]):
        yield from _doubled(good)
    yield from everywhere(UNLINKED, BROKEN, at=below, read=False)
    yield from everywhere(ROOTS, BROKEN, at=roots, read=False)
    for good in (CHAIN[2], RICH_CHAIN[3], CHAIN[8], USE[2]):
        for hop in range(1, len(good.links)):
            yield from _approved(good, hop)
            yield from _fixed(good, hop)
    for good in (CHAIN[1], CHAIN[2], CHAIN[8], USE[1], RICH_USE[2]):
        yield from _deep(good)


def below(turn: int) -> Iterator[Place]:
    yield CHAIN[2], 1
    yield CHAIN[8], 1 + turn % 7
    yield (USE[2], 1) if turn % 2 else (RICH_CHAIN[3], 1 + turn // 2 % 2)


def roots(turn: int) -> Iterator[Place]:
    yield CHAIN[1], 0
    yield CHAIN[2], 0
    yield USE[1], 0


def _moved(good: Good) -> Iterator[Attack]:
    links, last = good.tokens(), len(good.links)

    def broken(name: str, where: str, hop: int, chain: list[str], code: str = BROKEN) -> Attack:
        if chain[0] != links[0] and len(chain) == LONG:
            # What comes first names what it took the place of, and that counts.
            code, hop = "chain_too_deep", 0
        return good.attack(f"links: {name}", where, code, hop, good.about(chain))

    # What is left then begins with an agent's own word.
    yield broken("dropped", "hop 0", 0, links[1:], "untrusted_issuer")
    for hop in range(1, last):
        # The link after it, or the invocation, moves up and is by somebody else.
        if hop + 1 < last or good.use:
            yield broken("dropped", f"hop {hop}", hop, links[:hop] + links[hop + 1 :])
        swapped = [*links[: hop - 1], links[hop], links[hop - 1], *links[hop + 1 :]]
        yield broken("swapped with the one before", f"hop {hop}", max(hop - 1, 1), swapped)
    yield broken("in reverse", "all", 1, links[::-1])
    yield broken("the first moved to the end", "all", last - 1, [*links[1:], links[0]])
    yield broken("the last moved to the front", "all", 1, [links[-1], *links[:-1]])
    if last > 2:
        yield broken("only the first and the last", "all", 1, [links[0], links[-1]])
    yield broken("the root alone, many times", "all", 1, [links[0]] * last)


def _doubled(good: Good) -> Iterator[Attack]:
    links = good.tokens()
    for hop in range(len(links)):
        twice = [*links[: hop + 1], *links[hop:]]
        yield good.attack("links: doubled", f"hop {hop}", BROKEN, hop + 1, good.about(twice))
    yield good.attack(
        "links: the whole chain twice", "all", BROKEN, len(links), good.about(links * 2)
    )


def _foreign(good: Good) -> Iterator[Attack]:
    """Links that are right, of another chain."""
    links, last = good.tokens(), len(good.links)
    other = Good(good.name, ({**good.links[0], "nonce": "another"}, *good.links[1:])).tokens()
    for hop in range(1, last):
        mixed = [*other[:hop], *links[hop:]]
        yield good.attack(
            "links: below another root of the same parties",
            f"hop {hop}",
            BROKEN,
            hop,
            good.about(mixed),
        )
    for hop in range(last):
        sibling = {**good.links[hop], "aud": UNRELATED.did}
        prf = {"prf": [cid(links[hop - 1])]} if hop else {}
        token = sign(DELEGATION, {**sibling, **prf}, PEOPLE[hop])
        if hop + 1 < last or good.use:
            yield good.attack(
                "links: a sibling's in its place",
                f"hop {hop}",
                BROKEN,
                hop + 1,
                good.about([*links[:hop], token, *links[hop + 1 :]]),
            )


def _other_issuer(making: Making) -> str:
    return Making(making.header, {**making.payload, "iss": UNRELATED.did}, UNRELATED).token


def _neighbour(step: int) -> Forge:
    """Signed, in their own name, by someone else of the chain."""

    def forge(making: Making) -> str:
        party = PEOPLE[PEOPLE.index(making.party) + step]
        return Making(making.header, {**making.payload, "iss": party.did}, party).token

    return forge


def _proofs(*more: str) -> Forge:
    return lambda making: making.saying(prf=[*making.payload["prf"], *more]).token


UNLINKED: Final[dict[str, Forge]] = {
    "link: by a stranger": _other_issuer,
    "link: by the issuer of the one before": _neighbour(-1),
    "link: by its own audience": _neighbour(1),
    "link: no proof": saying(prf=...),
    "link: an empty proof": saying(prf=[]),
    "link: another proof": saying(prf=["0" * 64]),
    "link: a second proof": _proofs("0" * 64),
    "link: the same proof twice": lambda m: m.saying(prf=m.payload["prf"] * 2).token,
    "link: its proof after another": lambda m: m.saying(prf=["0" * 64, *m.payload["prf"]]).token,
    "link: the cid of what it would be without a proof": lambda m: (
        m.saying(prf=[cid(m.saying(prf=...).token)]).token
    ),
    "link: about a stranger": saying(sub=UNRELATED.did),
    "link: about its own issuer": lambda m: m.saying(sub=m.payload["iss"]).token,
    "link: about its own audience": lambda m: m.saying(sub=m.payload["aud"]).token,
}

ROOTS: Final[dict[str, Forge]] = {
    "root: about a stranger": saying(sub=UNRELATED.did),
    "root: about its audience": lambda m: m.saying(sub=m.payload["aud"]).token,
}


def _approved(good: Good, hop: int) -> Iterator[Attack]:
    """What came from an approval is for one call. Only the word `approval` counts."""
    for name, value in {
        "an approval": {"id": "env_1", "fingerprint": "0"},
        "an approval that is null": None,
        "an approval that is false": False,
    }.items():
        request = good.request({hop - 1: holding("approval", value)})
        yield good.attack(f"link: below {name}", f"hop {hop}", BROKEN, hop, request)


def _fixed(good: Good, hop: int) -> Iterator[Attack]:
    """Nothing is below what says that it cannot be handed on; only true says that it can."""
    values: dict[str, Any] = {
        "what is not forkable": False,
        "what is forkable: null": None,
        "what is forkable as a text": "true",
        "what is forkable as a number": 1,
        "what is forkable by nothing": {},
    }
    for name, value in values.items():
        request = good.request({hop - 1: holding("forkable", value)})
        yield good.attack(f"link: below {name}", f"hop {hop}", BROKEN, hop, request)


def _deep(good: Good) -> Iterator[Attack]:
    """A root says how many delegations it took the place of, and they count."""
    left = LONG - len(good.links) + 1
    many = [f"{number:064x}" for number in range(65)]
    for name, forge in {
        "told by the root": holding("lineage", {"depth": left}),
        "by its proofs": saying(prf=many[:left]),
        "beyond all": holding("lineage", {"depth": 2**53 - 1}),
        "by more proofs than may be named": lambda m: (
            m.holding({"depth": 0}, "lineage").saying(prf=many).token
        ),
    }.items():
        request = good.request({0: forge})
        yield good.attack(f"depth: {name}", "hop 0", "chain_too_deep", 0, request)
    if len(good.links) > 1:
        less = good.request(max_depth=len(good.links) - 1)
        hop = len(good.links) - 1
        yield good.attack("depth: less is allowed", "all", "chain_too_deep", hop, less)
    if len(good.links) == LONG:
        extra = sign(DELEGATION, delegation(PEOPLE[8], PEOPLE[9]), PEOPLE[8])
        nine = good.about([*good.tokens(), extra])
        yield good.attack("depth: nine links", "all", "chain_too_deep", 8, nine)
        none = good.about(["x"] * 9)
        yield good.attack("depth: nine of anything", "all", "chain_too_deep", 8, none)
