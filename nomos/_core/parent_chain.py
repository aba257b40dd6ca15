"""Acting by what a parent handed over: which chain is for a call, and how it is shown.

    admit     what this process was given, once the binary has found it good
    choose    the chain to ask by
    signed    a request with a token, for who has a chain and no API key
    headers   a call at a service, with nobody asked before

The control plane and the PDPs check every chain that they are shown. Here is chosen, and said
early what is not covered; nothing is allowed because of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from nomos._core import signing
from nomos._core.chain_verification import error, other_service, verify_chain
from nomos._core.effects import Flow, Send, Sign, perform
from nomos._core.policy_messages import message
from nomos._core.scope import effective_capability, permits, within
from nomos._core.signing import FRESH_SECONDS, InvocationSpec, is_did
from nomos._protocol import Refused, Verified, Verify
from nomos._sealed import make
from nomos.errors import (
    ConfigurationError,
    ExpiredChain,
    InvalidRequest,
    SignerError,
    Widening,
)
from nomos.models import (
    Capability,
    Chain,
    GrantBase,
    ParentChain,
    Question,
    Resource,
    describe_resource,
)
from nomos.resources import KNOWN, canonical_resource

SHOWN: Final = 8
"""Chains that one message tells of."""


@dataclass(frozen=True)
class VerifiedParentChain:
    """A chain that ends in this process's key: what it is for, and where it is of use.

    `audience` is the service that its first grant was for. `expires_at` is in Unix seconds.
    """

    chain: Chain
    reach: Capability
    issuer: str
    audience: str | None
    expires_at: int


@dataclass(frozen=True)
class AgentIdentity:
    """Who this process is, and what it was given; nothing at all for a root."""

    agent: str
    held: tuple[VerifiedParentChain, ...] = ()
    max_depth: int = 8


def verify_parent(
    parent: ParentChain, agent: str, *, now: int, setting: str
) -> Flow[AgentIdentity]:
    """Return what a parent gave to `agent`; `setting` says where that came from.

    Raises `WrongAudience`, `ExpiredChain` or another `ChainError` for what cannot be used.
    """
    verified = yield from verify_chain(parent, key=agent, now=now, setting=setting)
    held = tuple(map(_held, parent.chains, verified))
    return AgentIdentity(agent, held, parent.max_depth)


def select_chain(
    held: Sequence[VerifiedParentChain], question: Question, *, now: float
) -> tuple[VerifiedParentChain, bool]:
    """Return the chain to ask by, and whether it is for what is asked.

    Without one that is, the first is asked by all the same: the control plane says no, and
    records who tried. Raises `ExpiredChain` if none lasts.
    """
    lasting = unexpired(held, now=now)
    fitting = _fitting(lasting, question.command, canonical(question.resource))
    return (fitting or lasting)[0], bool(fitting)


def unexpired(
    held: Sequence[VerifiedParentChain], *, now: float
) -> tuple[VerifiedParentChain, ...]:
    """Return the chains that last; raises `ExpiredChain` if none does."""
    lasting = tuple(each for each in held if each.expires_at > now)
    if lasting:
        return lasting
    last = datetime.fromtimestamp(max(each.expires_at for each in held), UTC)
    raise ExpiredChain(
        f"what this process was given ended at {last:%Y-%m-%d %H:%M:%S} UTC: its parent can "
        "fork it again",
        code="expired",
    )


def offline_grant(
    held: VerifiedParentChain, question: Question, agent: str, clock_offset: float = 0.0
) -> GrantBase | None:
    """Return what `held` allows by itself, for when nobody answers.

    None if it names no service, or the question asks for less than the chain says.
    """
    audience = held.audience
    if not is_did(audience) or question.audience not in (None, audience) or question.pol:
        return None
    return make(
        GrantBase,
        decision="allow",
        command=question.command,
        resource=canonical(question.resource),
        args=None if question.args is None else dict(question.args),
        expires_at=datetime.fromtimestamp(held.expires_at, UTC),
        audience=audience,
        chain=held.chain,
        agent=agent,
        issuer=held.issuer,
        clock_offset=clock_offset,
    )


def signed(send: Send, me: AgentIdentity, *, now: int, nonce: str) -> Flow[Send]:
    """Return the request with the token by which a child without an API key is heard.

    The token is for this very request and works once. Raises `InvalidRequest` for a question
    that no token can hold, `ExpiredChain` if no chain lasts.
    """
    lasting = unexpired(me.held, now=now)
    claim = send.claim
    by = next((each for each in lasting if claim and each.chain == claim.chain), lasting[0])
    if claim is not None and claim.command is not None:
        command, args = claim.command, claim.args
    else:
        command, args = by.reach.command, _request(send, by)
    act = InvocationSpec(
        agent=me.agent,
        issuer=by.issuer,
        audience=by.issuer,
        chain=by.chain,
        command=command,
        args=args,
    )
    jwt = yield from _sign(act, by, now, nonce)
    return replace(send, headers={**send.headers, "authorization": f"Bearer {jwt}"})


def headers(me: AgentIdentity, question: Question, *, now: int, nonce: str) -> Flow[str]:
    """Sign a call of a service by a parent's chain, and make sure that it is for the call.

    Raises `Widening` if no chain is, `ExpiredChain` if those that were have ended,
    `InvalidRequest` for a call that no token can hold.
    """
    resource = canonical(question.resource)
    fitting = _fitting(me.held, question.command, resource)
    if not fitting:
        raise _widening(me.held, question.command, resource)
    fitting = _at_service(fitting, question.audience)
    refused: Refused | None = None
    for held in unexpired(fitting, now=now):
        act = _invocation(me, held, question, resource)
        jwt = yield from _sign(act, held, now, nonce)
        request = Verify(
            invocation=jwt,
            now=now,
            max_depth=me.max_depth,
            trusted_issuers=[held.issuer],
            audience=act.audience,
            # Whether the service is a PDP is for the service to know, and to hold against this.
            pdp=True,
        )
        answer = yield from perform(Sign(request))
        if not isinstance(answer, Refused):
            return jwt
        refused = refused or answer
    assert refused is not None, "a chain that lasts was tried"
    raise error(
        refused,
        f"{question.command} on {describe_resource(resource)} is not what this process was given "
        f"it for: {message(refused)}",
    )


def narrowed_by(held: Sequence[VerifiedParentChain], chain: Chain | None) -> Chain | None:
    """Return the chain among `held` that `chain` hands on, if it is one of those."""
    if chain is None:
        return None
    return next((each.chain for each in held if chain[: len(each.chain)] == each.chain), None)


def canonical(resource: Mapping[str, Any]) -> Resource:
    """Return a resource as the servers will read it, if its provider is one that is known here."""
    provider = KNOWN.get(str(resource.get("provider")))
    if provider is None:
        return dict(resource)
    try:
        return canonical_resource(provider, resource)
    except InvalidRequest:
        return dict(resource)


def _held(chain: Chain, verified: Verified) -> VerifiedParentChain:
    audience = (verified.meta or {}).get("audience")
    return VerifiedParentChain(
        chain=chain,
        reach=Capability(verified.cmd, verified.constraint or {}, effective_capability(chain).pol),
        issuer=verified.root,
        audience=audience if is_did(audience) else None,
        expires_at=verified.expires_at,
    )


def _invocation(
    me: AgentIdentity, held: VerifiedParentChain, question: Question, resource: Resource
) -> InvocationSpec:
    audience = question.audience or held.audience
    if audience is None:
        raise ConfigurationError(
            "audience must be given: this chain does not say which service it is for. A PDP "
            "tells its DID at its control plane's /.well-known/nomos",
            setting="audience",
        )
    return InvocationSpec(
        agent=me.agent,
        issuer=held.issuer,
        audience=audience,
        chain=held.chain,
        command=question.command,
        args={**(question.args or {}), "resource": resource},
    )


def no_service() -> ConfigurationError:
    return ConfigurationError(
        "audience must be the did:key of a service (did:key:z6Mk…)", setting="audience"
    )


def _sign(act: InvocationSpec, held: VerifiedParentChain, now: int, nonce: str) -> Flow[str]:
    """Sign what is good for a minute; what no token can hold is a wrong question, no outage."""
    until = min(now + FRESH_SECONDS, held.expires_at)
    try:
        return (yield from signing.sign_invocation(act, now=now, until=until, nonce=nonce))
    except SignerError as refused:
        if refused.code is None:
            raise
        raise InvalidRequest(
            f"this cannot be signed: {refused}", fields=("resource", "args")
        ) from refused


def _request(send: Send, by: VerifiedParentChain) -> dict[str, Any]:
    """What is signed of a request that asks for no call: all of it, but for its query."""
    return {
        "resource": by.reach.resource,
        "method": send.method,
        "path": send.path.partition("?")[0],
        "body": hashlib.sha256(send.body).hexdigest(),
    }


def _fitting(
    held: Sequence[VerifiedParentChain], command: str, resource: Resource
) -> tuple[VerifiedParentChain, ...]:
    return tuple(each for each in held if permits(each.reach, command, resource))


def _at_service(
    held: Sequence[VerifiedParentChain], audience: str | None
) -> tuple[VerifiedParentChain, ...]:
    """Return the chains that are good at `audience`; all of them if no service is named."""
    if audience is None:
        return tuple(held)
    if not is_did(audience):
        raise no_service()
    good = tuple(each for each in held if each.audience in (None, audience))
    if not good:
        raise other_service("what this process was given", held[0].audience, audience)
    return good


def _widening(held: Sequence[VerifiedParentChain], command: str, resource: Resource) -> Widening:
    told = "; ".join(
        f"{each.reach.command} on {_explained(each.reach.resource)}" for each in held[:SHOWN]
    )
    more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
    commanded = any(within(command, each.reach.command) for each in held)
    return Widening(
        f"{command} on {describe_resource(resource)} is more than this process was given: "
        f"{told}{more}",
        code="resource_out_of_scope" if commanded else "chain_attenuation_violation",
    )


def _explained(constraint: Resource) -> str:
    return describe_resource(constraint) if constraint else "any resource"
