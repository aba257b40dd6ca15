"""Verification of the chains in requests, and their comparison with the question.

`nomos._core.verification` says what to look up and has the binary verify a chain in one request. A
chain that the binary rejects is a value, `ChainFault`. A binary or a database that gives no answer
raises.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, get_args

from pydantic import ValidationError

from nomos._core import unverified, verification
from nomos._core.effects import Flow
from nomos._core.revocation_status import RevocationStatus
from nomos._core.unverified import UnverifiedChain, UnverifiedToken
from nomos._core.verification import (
    Rejection,
    RevocationResult,
    RevocationRules,
    VerifiedClaims,
)
from nomos._identifiers import JWT
from nomos._io.runtime import run_verification
from nomos._json import mapping
from nomos._protocol import RequestedCapability, Verify
from nomos.errors import SignerError
from nomos.models import DenyReason, VerificationCode
from nomos.server.control.context import Context
from nomos.server.domain import lineage
from nomos.server.domain.authorization import CanonicalRequest
from nomos.server.domain.delegation import MAX_LINEAGE, ChainFault, HeldCapability
from nomos.server.domain.partial_eval import KnownCall, first_false, known

T = TypeVar("T")

NO_JWT: Final = "this is not three base64url parts joined by dots"
CODES: Final[dict[str, DenyReason]] = {code: code for code in get_args(VerificationCode)}

MAX_SHOWN: Final = 200  # the maximum number of characters of a statement in a message


RECORDED: Final = RevocationRules(recorded=True)
NOT_LOOKED_UP: Final = RevocationResult(RevocationStatus(frozenset()), RECORDED.max_age)


@dataclass(frozen=True)
class ClaimedChain:
    """A chain as received, root first, and its claims, not verified; None if unreadable."""

    tokens: tuple[str, ...] = field(repr=False)
    claims: UnverifiedChain | None


def read(context: Context, tokens: Sequence[str]) -> ClaimedChain | ChainFault:
    """Read the delegations of a chain. Verifies nothing."""
    if len(tokens) > context.max_chain_depth:
        most = f"the chain has more than {context.max_chain_depth} delegations"
        return ChainFault("chain_too_deep", most)
    for hop, token in enumerate(tokens):
        if not JWT.fullmatch(token):
            return ChainFault("malformed_ucan", f"{NO_JWT} (hop {hop})")
    return ClaimedChain(tuple(tokens), unverified.read_chain(tokens))


async def prove(
    context: Context, chain: ClaimedChain, tenant: str, audience: str
) -> HeldCapability | ChainFault:
    """Verify a chain that ends in `audience`; its policies are only signed into grants on it."""
    request = _verify_request(context, tenant, chain=list(chain.tokens), audience=audience)
    found = await run(context, verification.verify(request, chain.claims, RECORDED))
    if isinstance(found, Rejection):
        return fault(context, found, tenant)
    return held(found, chain.tokens, request.now)


async def prove_invocation(
    context: Context, token: str, claims: UnverifiedToken, tenant: str
) -> VerifiedClaims | Rejection | None:
    """Verify an invocation whose audience is the issuer of its root, a key of the tenant.

    Returns None if the capability that the chain claims has no valid form.
    """
    requested = _whole_capability(claims)
    if requested is None:
        return None
    request = _verify_request(
        context, tenant, invocation=token, audience=claims.root["iss"], requested=requested
    )
    return await run(context, verification.verify(request, claims, RECORDED))


async def check_text(
    context: Context, token: str, claims: UnverifiedToken | None
) -> ChainFault | None:
    """Return what is wrong with the text of an invocation or its chain; None if it can be read.

    Only the text is checked: the binary receives no trusted issuer.
    """
    any_issuer = next(iter(context.key_log.trusted), None)
    request = Verify(
        invocation=token,
        now=int(context.clock()),
        max_depth=context.max_chain_depth,
        trusted_issuers=[],
        audience=any_issuer,
    )
    found = await run(context, verification.ask(request, claims, NOT_LOOKED_UP))
    if not isinstance(found, Rejection):
        raise SignerError("the signing binary verified a chain of no trusted issuer")
    long = found.answer.code == "chain_too_deep" and claims is not None and not claims.chain
    return None if found.was_read and not long else fault(context, found, None)


async def verify_while_valid(
    context: Context, chain: ClaimedChain, tenant: str
) -> HeldCapability | ChainFault:
    """Verify a chain at a time when all of its links were valid, ignoring revocations."""
    now = int(context.clock())
    links = () if chain.claims is None else chain.claims.links
    ends = [end for link in links if isinstance(end := link.get("exp"), int)]
    request = _verify_request(context, tenant, chain=list(chain.tokens)).model_copy(
        update={"now": max(0, min([now, *(end - 1 for end in ends)]))}
    )
    found = await run(context, verification.ask(request, chain.claims, NOT_LOOKED_UP))
    if isinstance(found, Rejection):
        return fault(context, found, tenant)
    return _held(found, chain.tokens)


async def check_attenuation(
    context: Context, held: HeldCapability, question: CanonicalRequest, tenant: str
) -> ChainFault | None:
    """Return why the requested capability is not within the held one; None if it is."""
    root = held.descent.root
    if len(held.descent.cids) > MAX_LINEAGE:
        many = f"the chain replaces more than {MAX_LINEAGE} delegations"
        return ChainFault("chain_too_deep", many, root)
    requested = RequestedCapability(cmd=question.command, resource=question.resource)
    request = _verify_request(context, tenant, chain=list(held.tokens), requested=requested)
    found = await run(
        context, verification.ask(request, UnverifiedChain(held.links), NOT_LOOKED_UP)
    )
    if isinstance(found, Rejection):
        return _fault(found, root)
    for command in question.commands or (question.command,):
        statement = first_false(held.pol, known(question, command))
        if statement is not None:
            return _excluded(command, statement, root)
    return None


async def run(context: Context, flow: Flow[T]) -> T:
    """Run a flow of `nomos._core.verification` with the server's binary and store."""

    async def lookup(ids: Collection[str]) -> RevocationStatus:
        return RevocationStatus(await context.store.revoked(ids))

    return await run_verification(flow, context.signer.ask, lookup, context.store.claim_nonce)


def held(found: VerifiedClaims, tokens: tuple[str, ...], now: int) -> HeldCapability | ChainFault:
    """Return a verified chain's capability, by the server's clock without the binary's leeway."""
    given = _held(found, tokens)
    root = given.descent.root
    if given.expires_at <= now:
        return ChainFault("expired", "the chain has expired", root)
    if given.starts_at > now:
        return ChainFault("not_yet_valid", "the chain is not valid yet by the server's clock", root)
    return given


def fault(context: Context, rejection: Rejection, tenant: str | None) -> ChainFault:
    """Return why a chain is rejected, with its first agent if all signatures are valid."""
    found = _fault(rejection, None)
    claims = rejection.claims
    if claims is None or not rejection.was_read or tenant is None:
        return found
    trusted = dict.fromkeys(_trusted(context, tenant), tenant)
    *_, signer = ({}, *claims.links)
    if isinstance(claims, UnverifiedToken):
        signer = claims.payload
    sender = lineage.sender(found.reason, signer, claims.chain, trusted)
    return found if sender is None else replace(found, root=sender.root)


def _verify_request(context: Context, tenant: str, **what: Any) -> Verify:
    return Verify(
        now=int(context.clock()),
        max_depth=context.max_chain_depth,
        trusted_issuers=_trusted(context, tenant),
        **what,
    )


def _held(found: VerifiedClaims, tokens: tuple[str, ...]) -> HeldCapability:
    return HeldCapability(
        links=found.claims.chain,
        tokens=tokens,
        descent=lineage.lineage_of(found.proven, found.claims.chain),
        constraint=found.proven.constraint,
        ids=found.claims.ids(),
    )


def _trusted(context: Context, tenant: str) -> list[str]:
    """Return the keys that may have signed the tenant's roots; never cached, since they change."""
    return sorted(did for did, owner in context.key_log.trusted.items() if owner == tenant)


def _whole_capability(claims: UnverifiedToken) -> RequestedCapability | None:
    """Return the whole capability that a chain claims, to verify who holds it."""
    constraint: Any = {}
    for link in claims.links:
        constraint = mapping(link.get("meta")).get("resource_constraint", constraint)
    try:
        capability = {"cmd": claims.links[-1].get("cmd"), "resource": constraint}
        return RequestedCapability.model_validate(capability)
    except ValidationError:
        return None


def _fault(rejection: Rejection, root: str | None) -> ChainFault:
    refused = rejection.answer
    reason = CODES.get(refused.code)
    if reason is None:
        raise SignerError(
            f"the signing binary rejected a verification request: {refused.code}", code=refused.code
        )
    where = "" if refused.hop is None else f" (hop {refused.hop})"
    return ChainFault(reason, f"{refused.message}{where}", root)


def _excluded(command: str, statement: Any, root: str) -> ChainFault:
    always_false = first_false([statement], KnownCall(command, {}))
    text = str(statement)
    shown = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
    return ChainFault(
        "resource_out_of_scope" if always_false is None else "chain_attenuation_violation",
        f"a policy of the chain excludes this from {command}: {ascii(shown)[1:-1]}",
        root,
    )
