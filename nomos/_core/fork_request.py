"""Handing narrower authority to children.

Each capability becomes one more link on the chain that covers it. The binary checks that every
link lies within its chain, and signs all of them or none. Decided here is only which chain a
capability narrows, how many children go into one request, and how a refusal reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from nomos import capabilities as asked
from nomos._core.chain_verification import another_key, error, no_key
from nomos._core.effects import Flow, Sign, perform
from nomos._core.parent_env import swarm_ids
from nomos._core.scope import chain_audience, effective_capability, payloads, permits
from nomos._core.tokens import approved, forkable
from nomos._pol.checks import policy
from nomos._pol.narrowing import Wider, wider
from nomos._pol.wording import worded
from nomos._protocol import MAX_FORKED, Fork, ForkAnswer, ForkChild, Forked, ForkLink, Refused
from nomos._sealed import changed
from nomos.errors import ConfigurationError, NomosError, SignerError, Widening
from nomos.models import Capability, Chain, Did, ParentChain, Secret, chain_of

MAX_REQUEST: Final = 900 * 1024
"""Bytes of the chains and links in one request; the binary takes a line of 1 MiB."""

MAX_TTL: Final = 366 * 24 * 3600
"""Seconds; every chain ends long before."""

_DID: Final[TypeAdapter[str]] = TypeAdapter(Did)
_AT: Final = re.compile(r"(?:children\[(\d+)\](?:\.links\[(\d+)\])?|chains\[(\d+)\])(?:: )?")


@dataclass(frozen=True)
class ChildSpec:
    """What one child is to be given; without `audience`, a key is made for it.

    `expires_at` is in Unix seconds; None is the end of each chain. `at` begins what messages
    say about it: `children[2].`.
    """

    capabilities: tuple[Capability, ...]
    audience: str | None = None
    expires_at: int | None = None
    at: str = ""


@dataclass(frozen=True)
class ForkRequest:
    """One act of forking: by whose key, from which authority, for whom.

    `now` is in Unix seconds by the clock of those who signed the chains; `nonces` are as many as
    there are capabilities, each of them new.
    """

    key: str
    parent: ParentChain
    wishes: Sequence[ChildSpec]
    nonces: Iterable[str] = field(repr=False)
    now: int


@dataclass(frozen=True)
class ForkedChild:
    """What one child was given, and its key if that was made for it.

    `parent` is what the child will hold: its chains, one for each capability, in their order.
    """

    agent: str
    parent: ParentChain
    capabilities: tuple[Capability, ...]
    expires_at: datetime
    seed: Secret | None = None


@dataclass(frozen=True)
class _ParentChain:
    """One of the parent's chains, and what its text says."""

    chain: Chain
    reach: Capability
    ends: int
    fixed: bool
    """Whether nothing of it can be handed on: it is for one call, or for one agent."""

    @property
    def size(self) -> int:
        return sum(len(link) + 3 for link in self.chain)


@dataclass
class _Batch:
    """Children that go into one request, and the chains that they narrow."""

    wishes: list[int] = field(default_factory=list)
    children: list[list[ForkLink]] = field(default_factory=list)
    chains: list[int] = field(default_factory=list)
    links: int = 0
    size: int = 0


def child_spec(
    *,
    capabilities: object,
    audience_did: str | None,
    ttl_seconds: int | None,
    now: int,
    at: str = "",
) -> ChildSpec:
    """Read what a caller wants a child to have; raises `ConfigurationError` naming what is wrong.

    `at` is where the arguments stand if there are several children: `children[2].`.
    """
    return ChildSpec(
        asked.parse(capabilities, where=f"{at}capabilities"),
        None if audience_did is None else _audience(audience_did, f"{at}audience_did"),
        None if ttl_seconds is None else now + _ttl(ttl_seconds, f"{at}ttl_seconds"),
        at,
    )


def fork(forking: ForkRequest) -> Flow[tuple[ForkedChild, ...]]:
    """Sign every link that is asked for, or none of a request's; the key is loaded already.

    Raises:
        Widening: a capability is not within what the chains give.
        ExpiredChain, ChainTooDeep, MalformedChain, WrongAudience: a chain cannot be handed on.
        ConfigurationError: an argument is wrong, or the key of the chain is not at hand.
    """
    for chain in forking.parent.chains:
        if (named := chain_audience(chain)) != forking.key:
            raise another_key("parent_chain", named, forking.key)
    held = [_parent_chains(chain) for chain in forking.parent.chains]
    forked: list[ForkedChild] = []
    for batch in _batches(forking, held):
        request = Fork(
            key=forking.key,
            chains=[list(held[index].chain) for index in batch.chains],
            children=[
                ForkChild(aud=forking.wishes[index].audience, links=links)
                for index, links in zip(batch.wishes, batch.children, strict=True)
            ],
            now=forking.now,
            max_depth=forking.parent.max_depth,
        )
        answer = yield from perform(Sign(request))
        if isinstance(answer, Refused):
            raise _refusal(answer, forking, batch)
        if not isinstance(answer, ForkAnswer) or not _fits(answer, batch):
            raise SignerError("the signing binary gave another answer than was asked for")
        for index, links, made in zip(batch.wishes, batch.children, answer.children, strict=True):
            narrowed = [held[batch.chains[link.chain]] for link in links]
            forked.append(_child(forking, forking.wishes[index], narrowed, made))
    return tuple(forked)


def _parent_chains(chain: Chain) -> _ParentChain:
    ends = [link.get("exp") for link in payloads(chain)]
    known = [each for each in ends if isinstance(each, int)]
    return _ParentChain(chain, effective_capability(chain), min(known, default=0), _is_fixed(chain))


def _is_fixed(chain: Chain) -> bool:
    return approved(chain) or not forkable(chain)


def _batches(forking: ForkRequest, held: Sequence[_ParentChain]) -> Iterator[_Batch]:
    """Yield the children in their order, as many in a request as it takes."""
    batch = _Batch()
    nonces = iter(forking.nonces)
    for index, wanted in enumerate(forking.wishes):
        chosen = [
            _chosen(held, each, wanted, forking.now, f"{wanted.at}capabilities[{place}]")
            for place, each in enumerate(wanted.capabilities)
        ]
        links = [
            ForkLink(
                cmd=each.command,
                constraint=each.resource,
                pol=list(each.pol),
                nonce=next(nonces),
                exp=wanted.expires_at,
            )
            for each in wanted.capabilities
        ]
        own = sum(len(link.model_dump_json().encode()) + 64 for link in links)
        new = _new(chosen, batch, held)
        if batch.wishes and (
            batch.links + len(links) > MAX_FORKED or batch.size + own + new > MAX_REQUEST
        ):
            yield batch
            batch = _Batch()
            new = _new(chosen, batch, held)
        if own + new > MAX_REQUEST:
            raise ConfigurationError(
                f"{wanted.at}capabilities need chains and statements of {own + new} characters; "
                f"at most {MAX_REQUEST} are handed on at once: name fewer capabilities",
                setting=f"{wanted.at}capabilities",
            )
        _add(batch, index, links, chosen, own + new)
    if batch.wishes:
        yield batch


def _chosen(
    held: Sequence[_ParentChain], each: Capability, wanted: ChildSpec, now: int, at: str
) -> int:
    """The chain that a capability narrows: the first that covers it and can be handed on.

    None may; then the first chain is as good as any, and the binary says what is wrong with it.
    Of those that do, the first is taken whose statements leave room for what is asked.
    """
    until = wanted.expires_at or now + 1

    def suits(index: int) -> tuple[bool, bool, bool]:
        one = held[index]
        return permits(one.reach, each.command, each.resource), not one.fixed, one.ends >= until

    best = max(range(len(held)), key=suits)
    covers, usable, lasts = suits(best)
    if covers and usable and not lasts and held[best].ends > now and wanted.expires_at is not None:
        raise Widening(
            f"{wanted.at}ttl_seconds={wanted.expires_at - now} would end at "
            f"{_moment(wanted.expires_at)}, and the chain ends at {_moment(held[best].ends)}: a "
            "child's authority ends no later than its parent's. Leave ttl_seconds out to hand on "
            "all the time that is left",
            code="chain_attenuation_violation",
        )
    if not covers:
        return 0
    wide = _excess(each, held[best])
    if wide is None:
        return best
    for index in range(len(held)):
        if suits(index) == suits(best) and _excess(each, held[index]) is None:
            return index
    raise _attenuation_error(wide, at)


def _excess(asked: Capability, held: _ParentChain) -> Wider | None:
    """What of a capability's statements is decidably more than a chain leaves, or besides it.

    Whatever is not decided here, or cannot be read, the chain carries both of.
    """
    if not asked.pol or not held.reach.pol:
        return None
    try:
        return wider(policy(list(asked.pol)), policy(list(held.reach.pol)))
    except ConfigurationError:
        return None


def _attenuation_error(wide: Wider, at: str) -> Widening:
    return Widening(
        f"{at} asks for more than the chain gives: asked is `{worded(wide.asked)}`, and held is "
        f"`{worded([wide.held])}`. A child's constraints lie within its parent's, or are left out",
        code="chain_attenuation_violation",
    )


def _new(chosen: Sequence[int], batch: _Batch, held: Sequence[_ParentChain]) -> int:
    return sum(held[index].size for index in set(chosen) - set(batch.chains))


def _add(
    batch: _Batch, index: int, links: Sequence[ForkLink], chosen: Sequence[int], size: int
) -> None:
    for chain in chosen:
        if chain not in batch.chains:
            batch.chains.append(chain)
    batch.wishes.append(index)
    batch.children.append(
        [
            link.model_copy(update={"chain": batch.chains.index(chain)})
            for link, chain in zip(links, chosen, strict=True)
        ]
    )
    batch.links += len(links)
    batch.size += size


def _fits(answer: ForkAnswer, batch: _Batch) -> bool:
    return [len(each.links) for each in answer.children] == [len(each) for each in batch.children]


def _child(
    forking: ForkRequest, wanted: ChildSpec, narrowed: Sequence[_ParentChain], made: Forked
) -> ForkedChild:
    chains = tuple(
        chain_of((*one.chain, new.jwt)) for one, new in zip(narrowed, made.links, strict=True)
    )
    receipt, swarm = swarm_ids(changed(forking.parent, chains=chains))
    ends = min(wanted.expires_at or one.ends for one in narrowed)
    return ForkedChild(
        agent=made.aud,
        parent=changed(forking.parent, chains=chains, parent_receipt_id=receipt, swarm_id=swarm),
        capabilities=wanted.capabilities,
        expires_at=datetime.fromtimestamp(ends, UTC),
        seed=None if made.seed is None else Secret(made.seed),
    )


def _refusal(refused: Refused, forking: ForkRequest, batch: _Batch) -> NomosError:
    """Say what a refusal means in the words of the caller's arguments."""
    if refused.code == "unknown_key":
        return no_key("parent_chain", forking.key)
    found = _AT.match(refused.message)
    if found is None:
        return error(refused, f"the signing binary refused: {refused.message}")
    child, link, chain = (None if each is None else int(each) for each in found.groups())
    sentence = refused.message[found.end() :]
    if child is None:
        index = batch.chains[chain or 0]
        where = "parent_chain" if len(forking.parent.chains) == 1 else f"parent_chain[{index}]"
        return error(refused, f"{where}: {sentence}")
    at = forking.wishes[batch.wishes[child]].at
    if refused.code == "invalid_key":
        return _invalid(f"{at}audience_did", sentence)
    where = f"{at}capabilities" if link is None else f"{at}capabilities[{link}]"
    if refused.code in ("vacuous_policy", "malformed_ucan", "invalid_request", "too_large"):
        return _invalid(where, sentence)
    return error(refused, f"{where}: {sentence}")


def _invalid(setting: str, sentence: str) -> ConfigurationError:
    return ConfigurationError(f"{setting}: {sentence}", setting=setting)


def _audience(did: str, setting: str) -> str:
    try:
        return _DID.validate_python(did)
    except ValidationError:
        raise ConfigurationError(
            f"{setting} must be the did:key of the child (did:key:z6Mk… for Ed25519), or None to "
            "have a key made for it",
            setting=setting,
        ) from None


def _ttl(seconds: Any, setting: str) -> int:
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if whole and 1 <= seconds <= MAX_TTL:
        return int(seconds)
    raise ConfigurationError(
        f"{setting} must be a whole number of seconds, at least 1, or None for as long as the "
        "parent's chain holds",
        setting=setting,
    )


def _moment(unix: int) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M:%S} UTC"
