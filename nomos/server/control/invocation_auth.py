"""Authentication of agents without an API key, by an invocation of their chain.

An agent with a chain signs an invocation for one request, with the issuer of the chain's root as
its audience: `Authorization: Bearer <invocation>`. The agent acts for the app that the chain began
with. Each invocation works once.

Its content depends on the request. For a question it has the question's command, resource and args.
For any other request it has the chain's own command and resource, with the method, the path and the
hash of the body.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request

from nomos._core import unverified, verification
from nomos._core.http_rules import bearer
from nomos._core.http_rules.bearer import BearerFault
from nomos._core.signing import BACKDATED
from nomos._core.unverified import UnverifiedToken
from nomos._core.verification import Rejection, VerifiedClaims
from nomos._identifiers import JWT
from nomos._json import mapping, same
from nomos._limits import MAX_BODY_WITH_CHAIN, MAX_TOKEN
from nomos.errors import SignerError
from nomos.models import DenyReason
from nomos.server.control import body, chain_verification
from nomos.server.control.context import Context
from nomos.server.control.errors import TOKEN_CODES, ControlError, unavailable
from nomos.server.control.messages import AuthorizeRequest
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.delegation import ChainFault, HeldCapability

LIFE_SECONDS: Final = 60
"""The maximum lifetime of an invocation to the control plane, in seconds."""

LONG_LIVED: Final = f"an invocation to the control plane lives {LIFE_SECONDS} seconds at most"

log = logging.getLogger("nomos.server")

UNPROVEN: Final[frozenset[DenyReason]] = frozenset(
    {
        "malformed_ucan",
        "bad_signature",
        "chain_too_deep",
        "untrusted_issuer",
        "audience_mismatch",
        "replayed",
    }
)
"""Faults of a token that does not prove its sender for this request. Others lead to a deny."""


@dataclass(frozen=True, kw_only=True)
class AgentPrincipal(ApiKey):
    """An agent that acts for the app that its chain began with, and only for itself.

    `held` is the chain; `fault` is what is wrong with it although all of its signatures are valid.
    """

    agent: str
    tokens: tuple[str, ...] = field(repr=False)
    signed_args: Mapping[str, Any] = field(repr=False)
    command: str
    held: HeldCapability | None = None
    fault: ChainFault | None = None


def is_invocation(authorization: Sequence[str]) -> bool:
    """Return whether a token was sent in place of an API key, which has no dots."""
    try:
        return "." in bearer.read(authorization, b"")
    except BearerFault:
        return False


async def identify(context: Context, request: Request, authorization: str) -> AgentPrincipal:
    """Return the agent that signed a question's invocation. Raises ControlError if unproven."""
    try:
        return await _identify(context, bearer.read([authorization], b""))
    except SignerError as failure:
        log.exception("an invocation could not be verified")
        raise unavailable("the token cannot be verified at the moment; ask again") from failure


async def authenticate(context: Context, request: Request, authorization: str) -> AgentPrincipal:
    """Return the agent that signed exactly this request, not a question. Raises ControlError."""
    holder = await identify(context, request, authorization)
    if holder.fault is not None:
        raise _unauthorized(holder.fault)
    assert holder.held is not None, "without a fault there is a chain"
    expected = {
        "resource": holder.held.constraint or {},
        "method": request.method,
        "path": request.url.path,
        "body": hashlib.sha256(await body.raw(request, MAX_BODY_WITH_CHAIN)).hexdigest(),
    }
    if holder.command != holder.held.command or not same(holder.signed_args, expected):
        message = (
            "the invocation is for another request: sign the chain's command and resource with "
            "this method, path and the sha256 of the body"
        )
        raise _unauthorized(ChainFault("resource_mismatch", message))
    return holder


async def check_app(context: Context, holder: ApiKey) -> None:
    """Raise ControlError if the app is disabled or revoked; not looked up for a faulty chain."""
    if isinstance(holder, AgentPrincipal) and holder.fault is not None:
        return
    found = await context.store.apps.find(holder.tenant, holder.app)
    if found is None or found.disabled_at is not None:
        raise _disabled()


def check_request(holder: AgentPrincipal, message: AuthorizeRequest) -> ChainFault | None:
    """Return why this question is not the one that its holder signed; None if it is."""
    expected = {**(message.args or {}), "resource": message.resource}
    if holder.command != message.command or not same(holder.signed_args, expected):
        what = "the invocation is for another question: sign its command, resource and args"
        return _mismatch(holder, "resource_mismatch", what)
    if message.delegated_chain not in (None, list(holder.tokens)):
        what = "delegatedChain is another chain than the one that the invocation is on"
        return _mismatch(holder, "chain_invalid", what)
    if message.agent_did not in (None, holder.agent):
        what = "agentDid is not the agent that signed the invocation"
        return _mismatch(holder, "audience_mismatch", what)
    return None


def _mismatch(holder: AgentPrincipal, reason: DenyReason, message: str) -> ChainFault:
    return ChainFault(reason, message, holder.held.descent.root if holder.held else None)


async def _identify(context: Context, token: str) -> AgentPrincipal:
    claims, tenant, found = await _verified(context, token)
    tokens = tuple(claims.payload["prf"])
    holding = (
        chain_verification.fault(context, found, tenant)
        if isinstance(found, Rejection)
        else chain_verification.held(found, tokens, int(context.clock()))
    )
    fault = holding if isinstance(holding, ChainFault) else None
    if fault is not None and fault.reason in UNPROVEN:
        raise _unauthorized(fault)
    holder = AgentPrincipal(
        app=await _app(context, tenant, claims, fault),
        tenant=tenant,
        role="agent",
        secret_hash="",
        agent=str(claims.payload["iss"]),
        tokens=tokens,
        signed_args=claims.payload["args"],
        command=str(claims.payload["cmd"]),
        held=holding if isinstance(holding, HeldCapability) else None,
        fault=fault,
    )
    # A faulty invocation is rejected every time, so its nonce is not stored.
    if isinstance(found, VerifiedClaims) and fault is None:
        use = verification.use_of(found, claims.root["iss"])
        if await chain_verification.run(context, verification.claim_once(use)) is not None:
            used = "this invocation was already used; sign a new one"
            raise _unauthorized(ChainFault("replayed", used))
    return holder


async def _verified(
    context: Context, token: str
) -> tuple[UnverifiedToken, str, VerifiedClaims | Rejection]:
    """Have the binary verify an invocation, in one request.

    Returns its claims, the tenant of its root, and what was verified. Raises ControlError for
    unreadable text, a root of another server and a lifetime that is too long, in that order and
    before any lookup.
    """
    if len(token) > MAX_TOKEN:
        raise _unauthorized(
            ChainFault("malformed_ucan", f"the token is longer than {MAX_TOKEN} bytes")
        )
    if not JWT.fullmatch(token):
        raise _unauthorized(ChainFault("malformed_ucan", chain_verification.NO_JWT))
    claims = unverified.read(token, context.max_chain_depth)
    tenant = None if claims is None else _tenant(context, claims)
    found = None
    if claims is not None and tenant is not None and not _is_long_lived(claims):
        found = await chain_verification.prove_invocation(context, token, claims, tenant)
    if claims is not None and tenant is not None and found is not None:
        return claims, tenant, found
    fault = await chain_verification.check_text(context, token, claims)
    if fault is None and tenant is None:
        fault = ChainFault("untrusted_issuer", "the chain's root is not of this server")
    raise _unauthorized(fault or ChainFault("malformed_ucan", LONG_LIVED))


def _tenant(context: Context, claims: UnverifiedToken) -> str | None:
    issuer = claims.root.get("iss")
    return dict(context.key_log.trusted).get(issuer) if isinstance(issuer, str) else None


def _is_long_lived(claims: UnverifiedToken) -> bool:
    """Return whether an invocation lives too long, or has no readable expiry.

    Its `iat` cannot be later than now, so this also bounds how long from now it is valid.
    """
    begin, end = claims.payload.get("iat"), claims.payload.get("exp")
    if not isinstance(begin, int) or not isinstance(end, int):
        return True
    return end - begin > LIFE_SECONDS + BACKDATED


async def _app(
    context: Context, tenant: str, claims: UnverifiedToken, fault: ChainFault | None
) -> str:
    """Return the app that the chain was granted to; raises ControlError if unknown or disabled."""
    app = mapping(claims.root.get("meta")).get("app_id")
    found = await context.store.apps.find(tenant, app) if isinstance(app, str) else None
    if found is None:
        raise ControlError("app_disabled", "the app that this chain was granted to is not known")
    # If the chain is revoked, the reply says so instead, and it is recorded.
    if found.disabled_at is not None and (fault is None or fault.reason != "revoked"):
        raise _disabled()
    return found.app.id


def _disabled() -> ControlError:
    return ControlError("app_disabled", "the app that this chain was granted to is disabled")


def _unauthorized(fault: ChainFault) -> ControlError:
    code = TOKEN_CODES.get(fault.reason, "malformed_ucan")
    return ControlError(code, fault.message, headers={"www-authenticate": 'Bearer realm="nomos"'})
