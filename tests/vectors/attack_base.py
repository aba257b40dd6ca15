"""The valid tokens of attacks, and the same tokens with one of them forged.

An attack changes one thing. What comes after a forged link names it by its new cid, is signed by
the right key and lies within it, so that nothing but the forgery is wrong with the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, NamedTuple

from vectors.cases import verify
from vectors.forge import (
    DELEGATION,
    HERE,
    INVOCATION,
    ISSUER,
    NOW,
    SERVICE,
    Party,
    Payload,
    cid,
)
from vectors.making import Forge, Making

PEOPLE: Final = (ISSUER, *(Party(number) for number in range(101, 110)))
"""The issuer, and agents who each delegate to the next; the last one delegates to none."""

LONG: Final = 8
"""Links in the longest chain that is allowed unless a verifier says otherwise."""

LIST: Final = "/github/issue/list"
FIELDS: Final = {"provider": "github", "owner": "acme"}
RESOURCE: Final = {**FIELDS, "repo": "app", "path": "src/app/main.py"}
ARGS: Final = {"state": "open", "page": 2}


class Accepted(NamedTuple):
    """A request that is answered yes, and some of what the answer says."""

    name: str
    request: Payload
    answer: Payload


class Attack(NamedTuple):
    """A request that differs from one that is accepted by one mutation, and what refuses it."""

    mutation: str
    where: str
    base: Accepted
    request: Payload
    code: str
    hop: int | None


def issued_by(party: Party) -> Forge:
    """Signed by another party, in its own name."""
    return lambda making: replace(making, party=party).saying(iss=party.did).token


def issued_by_neighbour(step: int) -> Forge:
    """Signed, in its own name, by another party of the chain."""
    return lambda making: issued_by(PEOPLE[PEOPLE.index(making.party) + step])(making)


@dataclass(frozen=True)
class Good:
    """A chain that verifies, and perhaps its use: what each party says, before anyone signs."""

    name: str
    links: tuple[Payload, ...]
    use: Payload | None = None
    asked: Payload = field(default_factory=dict)

    def request(
        self, forged: Mapping[int, Forge] | None = None, *, relink: bool = True, **changes: object
    ) -> Payload:
        """Ask about it, with some tokens forged (the invocation's hop is the number of links)."""
        forged = forged or {}
        chain: list[str] = []
        known: list[str] = []
        for hop, claims in enumerate(self.links):
            prf = {"prf": [cid(known[-1])]} if known else {}
            honest = Making(DELEGATION, {**claims, **prf}, PEOPLE[hop])
            chain.append(forged[hop](honest) if hop in forged else honest.token)
            known.append(chain[-1] if relink else honest.token)
        return self.about(chain, forged.get(len(chain)), **changes)

    def about(self, chain: list[str], forge: Forge | None = None, **changes: object) -> Payload:
        """Ask about these links in place of its own."""
        asked = {**self.asked, **changes}
        if self.use is None:
            return verify(chain=chain, **asked)
        honest = Making(INVOCATION, {**self.use, "prf": chain}, PEOPLE[len(self.links)])
        token = forge(honest) if forge else honest.token
        return verify(**{"invocation": token, "audience": SERVICE.did, **asked})

    def tokens(self) -> list[str]:
        """Return the links, signed."""
        bare: list[str] = replace(self, use=None).request()["chain"]
        return bare

    @property
    def last(self) -> int:
        """The hop of its last token."""
        return len(self.links) if self.use else len(self.links) - 1

    def where(self, hop: int) -> str:
        return "the invocation" if hop == len(self.links) else f"hop {hop}"

    @cached_property
    def accepted(self) -> Accepted:
        answer: Payload = {
            "agent": PEOPLE[len(self.links)].did,
            "root": ISSUER.did,
            "cmd": (self.use or self.links[-1])["cmd"],
            "depth": len(self.links) + len(self.links[0].get("prf", [])),
        }
        return Accepted(self.name, self.request(), answer)

    def attack(
        self, mutation: str, where: str, code: str, hop: int | None, request: Payload
    ) -> Attack:
        return Attack(mutation, where, self.accepted, request, code, hop)

    def forged(self, mutation: str, hop: int, forge: Forge, code: str, *, read: bool) -> Attack:
        """Forge one token. An invocation that cannot even be read has no hop.

        In a long chain what comes after a link that cannot be read stays as it was, to keep the
        table small: links are compared later.
        """
        named_hop = None if read and hop == len(self.links) else hop
        request = self.request({hop: forge}, relink=not read or len(self.links) < LONG)
        return Attack(mutation, self.where(hop), self.accepted, request, code, named_hop)


def plain(length: int, *, used: bool = False) -> Good:
    """A chain that says no more than it must."""
    links = tuple(_claims(hop, cmd="/github/issue") for hop in range(length))
    return Good(f"{'use' if used else 'chain'} of {length}", links, _use(length) if used else None)


def rich(length: int, *, used: bool = False) -> Good:
    """A chain that says all it can: each link says more, and gives less, than the one before."""
    links = tuple(
        _claims(
            hop,
            cmd=LIST if hop else "/github/issue",
            sub=ISSUER.did,
            nbf=NOW - 60 + hop,
            exp=NOW + 300 - hop,
            pol=[["==", ".args.state", "open"], ["<=", ".args.page", 9 - hop]],
            meta={
                **({} if hop else HERE),
                "resource_constraint": {**FIELDS, "path": "src/app" if hop else "src"},
            },
        )
        for hop in range(length)
    )
    name = f"rich {'use' if used else 'chain'} of {length}"
    if not used:
        return Good(name, links)
    call = {"cmd": LIST, "resource": RESOURCE, "args": ARGS}
    return Good(name, links, _use(length, ARGS), {"call": call})


def _claims(hop: int, **more: object) -> Payload:
    people = {"iss": PEOPLE[hop].did, "aud": PEOPLE[hop + 1].did}
    times = {"nbf": NOW - 60, "exp": NOW + 300}
    here = {} if hop else {"meta": HERE}
    return {**people, "pol": [], "nonce": f"n-{hop}", **times, **here, **more}


def _use(length: int, args: Payload | None = None) -> Payload:
    return {
        "iss": PEOPLE[length].did,
        "aud": SERVICE.did,
        "sub": ISSUER.did,
        "cmd": LIST,
        "args": {"resource": RESOURCE, **(args or {})},
        "nonce": "invocation-1",
        "iat": NOW - 60,
        "exp": NOW + 60,
    }
