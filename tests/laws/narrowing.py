"""The law of delegation: a delegation permits nothing that its delegator did not hold.

A family is a few agents, each given something by one before it: by `fork`, which refuses to sign
what is wider, or by an agent that signs whatever it likes (`delegate`), with any command, resource,
times, policy and proof. The universe is small, so what each agent can do is not reasoned about: it
signs every call there is, and the verifier is asked about each one.

    python tests/laws/narrowing.py 10000 [SEED]

plays that many families and says how many links, calls and refusals there were.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from nomos._identifiers import cid_of
from nomos._io.signer import Signer, shared
from nomos._protocol import (
    Answer,
    Call,
    Delegate,
    Delegation,
    Fork,
    ForkAnswer,
    ForkChild,
    ForkLink,
    GenerateKey,
    GenerateKeyAnswer,
    Invocation,
    Invoke,
    Refused,
    Request,
    Signed,
    Verified,
    Verify,
)

NOW: Final = 1_800_000_000
AGENTS: Final = 6

CALLS: Final = ("/p/a", "/p/a/b", "/p/ab", "/q/a")
RESOURCES: Final[tuple[dict[str, Any], ...]] = (
    {"provider": "p", "owner": "o", "path": ""},
    {"provider": "p", "owner": "o", "path": "x"},
    {"provider": "p", "owner": "o", "path": "x/y"},
    {"provider": "p", "owner": "o", "path": "xy"},
    {"provider": "p", "owner": "u", "path": "x"},
)
ARGS: Final[tuple[dict[str, Any], ...]] = ({}, {"n": 1})
UNIVERSE: Final = tuple(itertools.product(CALLS, RESOURCES, ARGS))

Where = tuple[int, ...]


@dataclass
class Tally:
    """The counts of a run."""

    families: int = 0
    links: int = 0
    refused: int = 0
    forged: int = 0
    calls: int = 0
    allowed: int = 0
    codes: Counter[str] = field(default_factory=Counter)


TALLY: Final = Tally()


@dataclass(frozen=True)
class Step:
    """One agent gives something to the next: `by` is who gives, `honest` whether by `fork`."""

    by: int
    honest: bool
    cmd: str
    constraint: dict[str, Any] | None
    pol: list[Any]
    exp: int
    nbf: int
    proof: str


commands = st.sampled_from(["/p", "/q", *CALLS])
constraints = st.one_of(
    st.none(),
    st.sampled_from(RESOURCES),
    st.sampled_from([{"provider": "p"}, {"provider": "p", "owner": "o"}, {"path": "x"}, {}]),
)
statements = st.sampled_from(
    [
        ["==", ".cmd", "/p/a"],
        ["or", [["==", ".cmd", "/p/a"], ["==", ".cmd", "/p/a/b"]]],
        ["==", ".args.n", 1],
        ["==", ".resource.owner", "o"],
        ["and", [["==", ".resource.path", "x/y"]]],
    ]
)
steps = st.builds(
    Step,
    by=st.integers(0, AGENTS - 1),
    honest=st.booleans(),
    cmd=commands,
    constraint=constraints,
    pol=st.one_of(st.just([]), st.lists(statements, max_size=2)),
    exp=st.sampled_from([NOW + 60, NOW + 300, NOW + 900]),
    nbf=st.sampled_from([NOW - 120, NOW - 60, NOW - 30]),
    proof=st.sampled_from(["right"] * 5 + ["none", "root", "other"]),
)
beginnings = st.builds(
    Step,
    by=st.just(0),
    honest=st.just(True),
    cmd=st.sampled_from(["/p", "/p", "/p/a"]),
    constraint=st.sampled_from([None, {"provider": "p"}, {"provider": "p", "owner": "o"}]),
    pol=st.lists(statements, max_size=1),
    exp=st.just(NOW + 900),
    nbf=st.just(NOW - 120),
    proof=st.just("right"),
)


class World:
    """The keys: an issuer, a service, and the agents, of whom each has one key for ever."""

    def __init__(self) -> None:
        self.signer = Signer(shared())
        self.issuer, self.service, *self.agents = (self._key() for _ in range(AGENTS + 2))

    def _key(self) -> str:
        made = self.ask(GenerateKey())
        assert isinstance(made, GenerateKeyAnswer)
        return made.key

    def ask(self, request: Request) -> Answer | Refused:
        return self.signer.ask(request)

    def root(self, step: Step) -> tuple[str, ...]:
        """What the issuer gives to the first agent."""
        payload = self._delegation(step, self.issuer, self.agents[0], None, ())
        signed = self.ask(Delegate(key=self.issuer, payload=payload))
        assert isinstance(signed, Signed), signed
        return (signed.jwt,)

    def give(self, step: Step, chain: tuple[str, ...], delegator: str, taker: str) -> str | None:
        """The new link, or None if the signer refused to sign it."""
        if step.honest:
            link = ForkLink(
                cmd=step.cmd,
                constraint=step.constraint,
                pol=step.pol,
                nonce="n",
                exp=step.exp,
            )
            child = ForkChild(aud=taker, links=[link])
            answer = self.ask(
                Fork(key=delegator, chains=[list(chain)], children=[child], now=NOW, max_depth=4)
            )
            if isinstance(answer, Refused):
                TALLY.codes[answer.code] += 1
                return None
            assert isinstance(answer, ForkAnswer)
            return answer.children[0].links[0].jwt
        proof = {"right": [cid_of(chain[-1])], "none": None, "root": [cid_of(chain[0])]}
        other = ["0" * 64]
        payload = self._delegation(step, delegator, taker, proof.get(step.proof, other), chain)
        signed = self.ask(Delegate(key=delegator, payload=payload))
        TALLY.forged += 1
        return signed.jwt if isinstance(signed, Signed) else None

    def _delegation(
        self,
        step: Step,
        delegator: str,
        taker: str,
        proof: list[str] | None,
        chain: tuple[str, ...],
    ) -> Delegation:
        meta: dict[str, Any] = {} if chain else {"audience": self.service, "closed": True}
        if step.constraint is not None:
            meta["resource_constraint"] = step.constraint
        return Delegation(
            iss=delegator,
            aud=taker,
            sub=self.issuer,
            cmd=step.cmd,
            pol=step.pol,
            nonce=f"n{len(chain)}",
            nbf=step.nbf,
            exp=step.exp,
            prf=proof,
            meta=meta or None,
        )

    def allowed(self, agent: str, chain: tuple[str, ...]) -> frozenset[int]:
        """Which calls of the universe the holder of a chain can make."""
        return frozenset(
            at
            for at, (cmd, resource, args) in enumerate(UNIVERSE)
            if self._can(agent, chain, cmd, resource, args)
        )

    def _can(
        self,
        agent: str,
        chain: tuple[str, ...],
        cmd: str,
        resource: dict[str, Any],
        args: dict[str, Any],
    ) -> bool:
        payload = Invocation(
            iss=agent,
            aud=self.service,
            sub=self.issuer,
            cmd=cmd,
            args={"resource": resource, **args},
            nonce="invocation-1",
            iat=NOW - 60,
            exp=NOW + 30,
            prf=list(chain),
        )
        signed = self.ask(Invoke(key=agent, payload=payload))
        assert isinstance(signed, Signed), signed
        outcome_code = self.ask(
            Verify(
                invocation=signed.jwt,
                now=NOW,
                max_depth=4,
                trusted_issuers=[self.issuer],
                audience=self.service,
                call=Call(cmd=cmd, resource=resource, args=args),
            )
        )
        TALLY.calls += 1
        return isinstance(outcome_code, Verified)


_worlds: list[World] = []


def world() -> World:
    if not _worlds:
        _worlds.append(World())
    return _worlds[0]


def play(first: Step, later: list[Step]) -> None:
    """Build one family, and hold each agent to what the one before it could do."""
    here = world()
    chain = here.root(first)
    held = [(here.agents[0], chain, here.allowed(here.agents[0], chain))]
    for taker, step in zip(here.agents[1:], later, strict=False):
        delegator, chain, within = held[step.by % len(held)]
        link = here.give(step, chain, delegator, taker)
        if link is None:
            TALLY.refused += 1
            continue
        longer = (*chain, link)
        can = here.allowed(taker, longer)
        beyond = [UNIVERSE[at] for at in sorted(can - within)]
        assert not beyond, f"{step} lets its child do {beyond}"
        held.append((taker, longer, can))
        TALLY.links += 1
        TALLY.allowed += len(can)
    TALLY.families += 1


def law(examples: int, start: int | None = None) -> None:
    """Play random families."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(first=beginnings, later=st.lists(steps, min_size=1, max_size=AGENTS - 1))
    def families(first: Step, later: list[Step]) -> None:
        play(first, later)

    (families if start is None else seed(start)(families))()


def main(examples: int, start: int | None = None) -> None:
    began = time.perf_counter()
    law(examples, start)
    seconds = time.perf_counter() - began
    print(f"{TALLY.families} families in {seconds:.0f} s: nobody could do more than who gave it")
    print(f"  {TALLY.links} links held ({TALLY.forged} signed by hand), {TALLY.refused} not signed")
    print(f"  {TALLY.calls} calls tried, of which children could make {TALLY.allowed}")
    print(f"  fork refused: {dict(TALLY.codes.most_common())}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
