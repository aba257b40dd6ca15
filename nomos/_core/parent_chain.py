"""Flows of a child: verify the inherited chains, choose one for a call, sign with it.

    verify_parent   the inherited chains, verified by the signing binary
    select_chain    the chain to send with a question
    signed          a request with a token, for a child without an API key
    headers         a signed call of a service, without asking for a decision

The control plane and the PDPs verify every chain that they receive. The checks here choose a chain
and report early what is not covered; they allow nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from nomos._core import signing
from nomos._core.chain_verification import error, other_service, verify_chain
from nomos._core.effects import Flow, Send
from nomos._core.policy_messages import message
from nomos._core.scope import effective_capability, permits, within
from nomos._core.signing import FRESH_SECONDS, InvocationSpec
from nomos._identifiers import is_did
from nomos._protocol import Refused, Verified
from nomos._sealed import make
from nomos._times import in_words
from nomos.errors import (
    AttenuationError,
    ConfigurationError,
    ExpiredChain,
    InvalidRequest,
    SignerError,
)
from nomos.models import (
    MAX_CHAIN_DEPTH,
    Capability,
    Chain,
    GrantBase,
    ParentChain,
    Question,
    Resource,
    describe_resource,
)
from nomos.resources import KNOWN, canonical_resource

T = TypeVar("T")

SHOWN: Final = 8  # chains that one message lists


@dataclass(frozen=True)
class VerifiedParentChain:
    """A verified chain that was delegated to this process's key.

    `reach` is what it covers. `audience` is the service that its root is for. `expires_at` is in
    Unix seconds.
    """

    chain: Chain
    reach: Capability
    issuer: str
    audience: str | None
    expires_at: int


@dataclass(frozen=True)
class AgentIdentity:
    """The DID of this process and its inherited chains; a root has none."""

    agent: str
    held: tuple[VerifiedParentChain, ...] = ()
    max_depth: int = MAX_CHAIN_DEPTH


def verify_parent(
    parent: ParentChain, agent: str, *, now: int, setting: str
) -> Flow[AgentIdentity]:
    """Return the identity of `agent` with its verified chains; `setting` says where they came from.

    Raises `WrongAudience`, `ExpiredChain` or another `ChainError` for a chain that cannot be used.
    """
    verified = yield from verify_chain(parent, key=agent, now=now, setting=setting)
    held = tuple(map(_held, parent.chains, verified))
    return AgentIdentity(agent, held, parent.max_depth)


def select_chain(
    held: Sequence[VerifiedParentChain], question: Question, *, now: float
) -> tuple[VerifiedParentChain, bool]:
    """Return the chain to send with a question, and whether it covers the question.

    If none does, the first one is sent all the same: the control plane denies, and records who
    asked. Raises `ExpiredChain` if all have expired.
    """
    lasting = unexpired(held, now=now)
    fitting = _fitting(lasting, question.command, canonical(question.resource))
    return (fitting or lasting)[0], bool(fitting)


def unexpired(
    held: Sequence[VerifiedParentChain], *, now: float
) -> tuple[VerifiedParentChain, ...]:
    """Return the chains that have not expired; raise `ExpiredChain` if all have."""
    lasting = tuple(each for each in held if each.expires_at > now)
    if lasting:
        return lasting
    last = in_words(max(each.expires_at for each in held))
    raise ExpiredChain(
        f"the chains of this process expired at {last}: its parent can fork it again",
        code="expired",
    )


def offline_grant(
    held: VerifiedParentChain, question: Question, agent: str, clock_offset: float = 0.0
) -> GrantBase | None:
    """Return what `held` allows by itself, for use during an outage.

    None if the chain names no service, or the question requires more restrictions than the chain.
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
    """Return the request with the token that authenticates a child without an API key.

    The token is for this request only and works once. Raises `InvalidRequest` for a question that
    no token can hold, `ExpiredChain` if all chains have expired.
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
    """Sign a call of a service by an inherited chain, and verify that the chain covers it.

    Raises `AttenuationError` if no chain covers it, `ExpiredChain` if those that do have expired,
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
        until = min(now + FRESH_SECONDS, held.expires_at)
        # Whether the service is a PDP is known, and checked, only by the service.
        signing_flow = signing.sign_verified(
            act, now=now, until=until, nonce=nonce, max_depth=me.max_depth
        )
        found = yield from _question_errors(signing_flow)
        if isinstance(found, str):
            return found
        refused = refused or found
    assert refused is not None, "at least one unexpired chain was tried"
    raise error(
        refused,
        f"{question.command} on {describe_resource(resource)} is not covered by the chain of this "
        f"process: {message(refused)}",
    )


def narrowed_by(held: Sequence[VerifiedParentChain], chain: Chain | None) -> Chain | None:
    """Return the chain among `held` that `chain` was delegated from, None if there is none."""
    if chain is None:
        return None
    return next((each.chain for each in held if chain[: len(each.chain)] == each.chain), None)


def canonical(resource: Mapping[str, Any]) -> Resource:
    """Return a resource in canonical form, if its provider is built in."""
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
            "audience must be given: this chain does not name the service it is for. The DID of "
            "a PDP is in its control plane's /.well-known/nomos",
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
    """Return the error for an audience that is not a DID."""
    return ConfigurationError(
        "audience must be the did:key of a service (did:key:z6Mk…)", setting="audience"
    )


def _sign(act: InvocationSpec, held: VerifiedParentChain, now: int, nonce: str) -> Flow[str]:
    """Sign an invocation that expires after a minute."""
    until = min(now + FRESH_SECONDS, held.expires_at)
    flow = signing.sign_invocation(act, now=now, until=until, nonce=nonce)
    return (yield from _question_errors(flow))


def _question_errors(flow: Flow[T]) -> Flow[T]:
    """Run a flow that signs. A call that no token can hold raises `InvalidRequest`: no outage."""
    try:
        return (yield from flow)
    except SignerError as refused:
        if refused.code is None:
            raise
        raise InvalidRequest(
            f"this cannot be signed: {refused}", fields=("resource", "args")
        ) from refused


def _request(send: Send, by: VerifiedParentChain) -> dict[str, Any]:
    """Return what is signed of a request that names no call: all of it but its query."""
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
    """Return the chains that are valid at `audience`; all of them if none is named."""
    if audience is None:
        return tuple(held)
    if not is_did(audience):
        raise no_service()
    good = tuple(each for each in held if each.audience in (None, audience))
    if not good:
        raise other_service("the chain of this process", held[0].audience, audience)
    return good


def _widening(
    held: Sequence[VerifiedParentChain], command: str, resource: Resource
) -> AttenuationError:
    listed = "; ".join(
        f"{each.reach.command} on {_explained(each.reach.resource)}" for each in held[:SHOWN]
    )
    more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
    commanded = any(within(command, each.reach.command) for each in held)
    return AttenuationError(
        f"{command} on {describe_resource(resource)} exceeds the authority of this process: "
        f"{listed}{more}",
        code="resource_out_of_scope" if commanded else "chain_attenuation_violation",
    )


def _explained(constraint: Resource) -> str:
    return describe_resource(constraint) if constraint else "any resource"
