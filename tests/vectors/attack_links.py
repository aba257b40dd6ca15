"""Attacks on the connection of links: parties, order and number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vectors.attack_base import LONG, PEOPLE, Attack, Good, issued_by, issued_by_neighbour
from vectors.attack_places import CHAIN, RICH_CHAIN, RICH_USE, USE, Place, everywhere
from vectors.forge import DELEGATION, UNRELATED, cid, delegation, sign
from vectors.making import Forge, holding, saying
from vectors.rearranging import REARRANGEMENTS

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
            for name, forge in {**APPROVED, **FIXED}.items():
                yield good.attack(name, f"hop {hop}", BROKEN, hop, good.request({hop - 1: forge}))
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

    def moved(name: str, where: str, hop: int, code: str = BROKEN, at: int = 0) -> Attack:
        return broken(name, where, hop, REARRANGEMENTS[name](links, at), code)

    # What is left then begins with an agent's own word.
    yield moved("dropped", "hop 0", 0, "untrusted_issuer")
    for hop in range(1, last):
        # The link after it, or the invocation, moves up and has another issuer.
        if hop + 1 < last or good.use:
            yield moved("dropped", f"hop {hop}", hop, at=hop)
        yield moved("swapped with the one before", f"hop {hop}", max(hop - 1, 1), at=hop)
    yield moved("in reverse", "all", 1)
    yield moved("the first moved to the end", "all", last - 1)
    yield moved("the last moved to the front", "all", 1)
    if last > 2:
        yield moved("only the first and the last", "all", 1)
    yield moved("the root alone, many times", "all", 1)


def _doubled(good: Good) -> Iterator[Attack]:
    links = good.tokens()
    for hop in range(len(links)):
        twice = REARRANGEMENTS["doubled"](links, hop)
        yield good.attack("links: doubled", f"hop {hop}", BROKEN, hop + 1, good.about(twice))
    whole = REARRANGEMENTS["the whole chain twice"](links, 0)
    yield good.attack("links: the whole chain twice", "all", BROKEN, len(links), good.about(whole))


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


def _proofs(*more: str) -> Forge:
    return lambda making: making.saying(prf=[*making.payload["prf"], *more]).token


UNLINKED: Final[dict[str, Forge]] = {
    "link: by a stranger": issued_by(UNRELATED),
    "link: by the issuer of the one before": issued_by_neighbour(-1),
    "link: by its own audience": issued_by_neighbour(1),
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


# What came from an approval is for one call. Only the word `approval` counts.
APPROVED: Final[dict[str, Forge]] = {
    f"link: below {name}": holding("approval", value)
    for name, value in {
        "an approval": {"id": "env_1", "fingerprint": "0"},
        "an approval that is null": None,
        "an approval that is false": False,
    }.items()
}

NOT_TRUE: Final[dict[str, Any]] = {
    "what is not forkable": False,
    "what is forkable: null": None,
    "what is forkable as a text": "true",
    "what is forkable as a number": 1,
    "what is forkable by nothing": {},
}
"""A root that is not forkable has no later link; only true means forkable."""

FIXED: Final[dict[str, Forge]] = {
    f"link: below {name}": holding("forkable", value) for name, value in NOT_TRUE.items()
}

FORGERIES: Final = {**UNLINKED, **ROOTS, **APPROVED, **FIXED}


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
