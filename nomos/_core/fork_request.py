"""The flow that forks children: one request to the signing binary for all of their links.

Each capability becomes one more link on the chain that covers it. The binary checks every link
against its chain, and signs all of them or none. This module chooses the chains for each
capability, divides children into requests, and words the refusals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from nomos import capabilities as asked
from nomos._core.chain_verification import another_key, error, no_key
from nomos._core.effects import Flow, Sign, perform
from nomos._core.parent_env import swarm_ids
from nomos._core.policy_messages import exceeding
from nomos._core.scope import chain_audience, effective_capability, payloads, permits
from nomos._core.tokens import approved, forkable
from nomos._identifiers import is_did
from nomos._protocol import MAX_FORKED, Fork, ForkAnswer, ForkChild, Forked, ForkLink, Refused
from nomos._sealed import changed
from nomos._times import in_words
from nomos.errors import AttenuationError, ConfigurationError, NomosError, SignerError
from nomos.models import Capability, Chain, ParentChain, Secret, chain_of

MAX_REQUEST: Final = 900 * 1024
"""Bytes of chains and links in one request; the binary accepts a line of 1 MiB."""

MAX_TTL: Final = 366 * 24 * 3600  # seconds; every chain ends long before
_AT: Final = re.compile(r"(?:children\[(\d+)\](?:\.links\[(\d+)\])?|chains\[(\d+)\])(?:: )?")


@dataclass(frozen=True)
class ChildSpec:
    """The requested authority of one child; without `audience`, a key is made for it.

    `expires_at` is in Unix seconds; None is the end of each chain. `at` is the prefix of messages
    about this child: `children[2].`.
    """

    capabilities: tuple[Capability, ...]
    audience: str | None = None
    expires_at: int | None = None
    at: str = ""


@dataclass(frozen=True)
class ForkRequest:
    """One fork: the signing key, the chains to delegate from, and the children.

    `now` is in Unix seconds by the clock of the chains' signer; `nonces` has a new one for each
    capability.
    """

    key: str
    parent: ParentChain
    specs: Sequence[ChildSpec]
    nonces: Iterable[str] = field(repr=False)
    now: int


@dataclass(frozen=True)
class ForkedChild:
    """One child's key, if it was made here, and as `parent` its chains, one for each capability."""

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
    """Whether it cannot be delegated further: it is for one call, or for one agent."""

    @property
    def size(self) -> int:
        return sum(len(link) + 3 for link in self.chain)


_Chosen = tuple[int, ...]
"""The indexes of the chains that one capability may be delegated from, the preferred one first."""


@dataclass
class _Batch:
    """The children of one request, and the chains that they delegate from."""

    specs: list[int] = field(default_factory=list)
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
    """Read a child's requested authority, or raise `ConfigurationError`; `at` as in `ChildSpec`."""
    return ChildSpec(
        asked.parse(capabilities, where=f"{at}capabilities"),
        None if audience_did is None else _audience(audience_did, f"{at}audience_did"),
        None if ttl_seconds is None else now + _ttl(ttl_seconds, f"{at}ttl_seconds"),
        at,
    )


def fork(forking: ForkRequest) -> Flow[tuple[ForkedChild, ...]]:
    """Sign all links that are requested; of one request to the binary, either all or none.

    The key must have been loaded.

    Raises:
        AttenuationError: a capability exceeds what the chains cover.
        ExpiredChain, ChainTooDeep, MalformedChain, WrongAudience: a chain cannot be used.
        ConfigurationError: an argument is wrong, or the key of the chain is not loaded.
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
                ForkChild(aud=forking.specs[index].audience, links=links)
                for index, links in zip(batch.specs, batch.children, strict=True)
            ],
            now=forking.now,
            max_depth=forking.parent.max_depth,
        )
        answer = yield from perform(Sign(request))
        if isinstance(answer, Refused):
            raise _refusal(answer, forking, batch)
        if not isinstance(answer, ForkAnswer) or not _fits(answer, batch):
            raise SignerError("unexpected response type from the signing binary")
        for index, links, made in zip(batch.specs, batch.children, answer.children, strict=True):
            narrowed = [
                held[batch.chains[link.chain if new.chain is None else new.chain]]
                for link, new in zip(links, made.links, strict=True)
            ]
            forked.append(_child(forking, forking.specs[index], narrowed, made))
    return tuple(forked)


def _parent_chains(chain: Chain) -> _ParentChain:
    ends = [link.get("exp") for link in payloads(chain)]
    known = [each for each in ends if isinstance(each, int)]
    return _ParentChain(chain, effective_capability(chain), min(known, default=0), _is_fixed(chain))


def _is_fixed(chain: Chain) -> bool:
    return approved(chain) or not forkable(chain)


def _batches(forking: ForkRequest, held: Sequence[_ParentChain]) -> Iterator[_Batch]:
    """Yield the children in their order, as many in one request as fit."""
    batch = _Batch()
    nonces = iter(forking.nonces)
    for index, wanted in enumerate(forking.specs):
        chosen = [_chosen(held, each, wanted, forking.now) for each in wanted.capabilities]
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
        if batch.specs and (
            batch.links + len(links) > MAX_FORKED or batch.size + own + new > MAX_REQUEST
        ):
            yield batch
            batch = _Batch()
            new = _new(chosen, batch, held)
        if own + new > MAX_REQUEST:
            raise ConfigurationError(
                f"{wanted.at}capabilities need chains and statements of {own + new} characters; "
                f"the limit is {MAX_REQUEST}: name fewer capabilities",
                setting=f"{wanted.at}capabilities",
            )
        _add(batch, index, links, chosen, own + new)
    if batch.specs:
        yield batch


def _chosen(held: Sequence[_ParentChain], each: Capability, wanted: ChildSpec, now: int) -> _Chosen:
    """Return the indexes of the chains to delegate from, in order: those that cover the capability.

    Chains that can be delegated and do not expire too soon come first. The signing binary takes the
    first whose statements the capability's do not exceed; without statements one chain is enough.
    If none covers the capability, the first chain is used, and the binary refuses it.
    """
    until = wanted.expires_at or now + 1

    def suits(index: int) -> tuple[bool, bool, bool]:
        one = held[index]
        return permits(one.reach, each.command, each.resource), not one.fixed, one.ends >= until

    best = max(range(len(held)), key=suits)
    covers, usable, lasts = suits(best)
    if covers and usable and not lasts and held[best].ends > now and wanted.expires_at is not None:
        raise AttenuationError(
            f"{wanted.at}ttl_seconds={wanted.expires_at - now} would end at "
            f"{in_words(wanted.expires_at)}, and the chain ends at {in_words(held[best].ends)}: a "
            "child's authority must not end after its parent's. Leave ttl_seconds out to delegate "
            "until the chain ends",
            code="chain_attenuation_violation",
        )
    if not covers:
        return (0,)
    if not each.pol or not held[best].reach.pol:
        return (best,)
    return tuple(index for index in range(len(held)) if suits(index) == suits(best))


def _new(chosen: Sequence[_Chosen], batch: _Batch, held: Sequence[_ParentChain]) -> int:
    wanted = {index for each in chosen for index in each}
    return sum(held[index].size for index in wanted - set(batch.chains))


def _add(
    batch: _Batch, index: int, links: Sequence[ForkLink], chosen: Sequence[_Chosen], size: int
) -> None:
    for chain in (chain for each in chosen for chain in each):
        if chain not in batch.chains:
            batch.chains.append(chain)
    batch.specs.append(index)
    batch.children.append([_placed(*each, batch) for each in zip(links, chosen, strict=True)])
    batch.links += len(links)
    batch.size += size


def _placed(link: ForkLink, chosen: _Chosen, batch: _Batch) -> ForkLink:
    """Return the link with the places that its chains have in the request."""
    chain, *others = (batch.chains.index(index) for index in chosen)
    return link.model_copy(update={"chain": chain, "alternatives": others or None})


def _fits(answer: ForkAnswer, batch: _Batch) -> bool:
    """Whether the answer has each link of the request, on a chain that the request permits."""
    made = [[new.chain for new in each.links] for each in answer.children]
    return [len(each) for each in made] == [len(each) for each in batch.children] and all(
        chain is None or chain in (link.alternatives or ())
        for links, chains in zip(batch.children, made, strict=True)
        for link, chain in zip(links, chains, strict=True)
    )


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
    """Return the error for a refusal, worded with the caller's arguments."""
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
    at = forking.specs[batch.specs[child]].at
    if refused.code == "invalid_key":
        return _invalid(f"{at}audience_did", sentence)
    where = f"{at}capabilities" if link is None else f"{at}capabilities[{link}]"
    if refused.code in ("vacuous_policy", "malformed_ucan", "invalid_request", "too_large"):
        return _invalid(where, sentence)
    words = exceeding(refused)
    return error(
        refused, f"{where}: {sentence}" if words is None else f"{where} exceeds the chain: {words}"
    )


def _invalid(setting: str, sentence: str) -> ConfigurationError:
    return ConfigurationError(f"{setting}: {sentence}", setting=setting)


def _audience(did: str, setting: str) -> str:
    if is_did(did):
        return did
    raise ConfigurationError(
        f"{setting} must be the did:key of the child (did:key:z6Mk… for Ed25519), or None: "
        "then a key is made for it",
        setting=setting,
    )


def _ttl(seconds: Any, setting: str) -> int:
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if whole and 1 <= seconds <= MAX_TTL:
        return int(seconds)
    raise ConfigurationError(
        f"{setting} must be a whole number of seconds, at least 1, or None: then the child's "
        "authority ends with the parent's chain",
        setting=setting,
    )
