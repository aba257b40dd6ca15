"""Agents without an API key: who they are by their chain, and that they sent this very request.

An agent that was given a chain signs an invocation on it to the issuer of the chain's root, for
one request: `Authorization: Bearer <invocation>`. The chain says whose agent it is; the app that
the chain began with is the one it acts for. Each invocation works once.

What the invocation must say depends on the request. A question is signed as what it asks for:
its command, resource and args. Any other request is signed as the chain's own command and
resource, with the method, the path and the hash of the body.
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
from nomos._core.unverified import UnverifiedToken
from nomos._core.verification import Rejection, VerifiedClaims
from nomos._limits import MAX_BODY_WITH_CHAIN, MAX_TOKEN
from nomos.audit.canonical import canonical
from nomos.errors import SignerError
from nomos.models import DenyReason
from nomos.server.control import body, chain_verification
from nomos.server.control.context import Context
from nomos.server.control.errors import TOKEN_CODES, ControlError, unavailable
from nomos.server.control.messages import AuthorizeRequest
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.delegation import ChainFault, HeldCapability
from nomos.server.domain.lineage import mapping
from nomos.server.domain.token_claims import BACKDATED

LIFE_SECONDS: Final = 60
"""How long an invocation to the control plane may live."""

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
"""What is wrong with a token that shows nobody, or not here and now. The rest is decided on."""


@dataclass(frozen=True, kw_only=True)
class AgentPrincipal(ApiKey):
    """An agent that acts for the app that its chain began with, and only for itself.

    `held` is the chain, `fault` what is wrong with it although all of its signatures are right.
    """

    agent: str
    tokens: tuple[str, ...] = field(repr=False)
    said: Mapping[str, Any] = field(repr=False)
    command: str
    held: HeldCapability | None = None
    fault: ChainFault | None = None


def is_invocation(authorization: Sequence[str]) -> bool:
    """Whether a token was sent where an API key could be, which has no dots."""
    try:
        return "." in bearer.read(authorization, b"")
    except BearerFault:
        return False


async def identify(ports: Context, request: Request, authorization: str) -> AgentPrincipal:
    """Return who signed the invocation of a question, whatever that asks.

    Raises ControlError for one that does not show who signed it.
    """
    try:
        return await _identify(ports, bearer.read([authorization], b""))
    except SignerError as failure:
        log.exception("an invocation could not be verified")
        raise unavailable("the token cannot be verified at the moment; ask again") from failure


async def authenticate(ports: Context, request: Request, authorization: str) -> AgentPrincipal:
    """Return who signed exactly this request, which is not a question. Raises ControlError."""
    holder = await identify(ports, request, authorization)
    if holder.fault is not None:
        raise _unauthorized(holder.fault)
    assert holder.held is not None, "without a fault there is a chain"
    said = {
        "resource": holder.held.constraint or {},
        "method": request.method,
        "path": request.url.path,
        "body": hashlib.sha256(await body.raw(request, MAX_BODY_WITH_CHAIN)).hexdigest(),
    }
    if holder.command != holder.held.command or not _same(holder.said, said):
        message = (
            "the invocation is for another request: sign the chain's command and resource with "
            "this method, path and the sha256 of the body"
        )
        raise _unauthorized(ChainFault("resource_mismatch", message))
    return holder


async def check_app(ports: Context, holder: ApiKey) -> None:
    """Raise ControlError if the app that a holder acts for may act no more.

    A holder whose chain is faulty only gets an answer that says so, and is not looked up.
    """
    if isinstance(holder, AgentPrincipal) and holder.fault is not None:
        return
    found = await ports.store.apps.find(holder.tenant, holder.app)
    if found is None or found.disabled_at is not None:
        raise _disabled()


def check_request(holder: AgentPrincipal, message: AuthorizeRequest) -> ChainFault | None:
    """Return why this question is not the one that its holder signed; None if it is."""
    asked = {**(message.args or {}), "resource": message.resource}
    if holder.command != message.command or not _same(holder.said, asked):
        what = "the invocation is for another question: sign its command, resource and args"
        return _unlike(holder, "resource_mismatch", what)
    if message.delegated_chain not in (None, list(holder.tokens)):
        what = "delegatedChain is another chain than the one that the invocation is on"
        return _unlike(holder, "chain_invalid", what)
    if message.agent_did not in (None, holder.agent):
        what = "agentDid is not the agent that signed the invocation"
        return _unlike(holder, "audience_mismatch", what)
    return None


def _unlike(holder: AgentPrincipal, reason: DenyReason, message: str) -> ChainFault:
    return ChainFault(reason, message, holder.held.descent.root if holder.held else None)


async def _identify(ports: Context, token: str) -> AgentPrincipal:
    claims, tenant, found = await _verified(ports, token)
    tokens = tuple(claims.payload["prf"])
    holding = (
        chain_verification.fault(ports, found, tenant)
        if isinstance(found, Rejection)
        else chain_verification.held(found, tokens, int(ports.clock()))
    )
    fault = holding if isinstance(holding, ChainFault) else None
    if fault is not None and fault.reason in UNPROVEN:
        raise _unauthorized(fault)
    holder = AgentPrincipal(
        app=await _app(ports, tenant, claims, fault),
        tenant=tenant,
        role="agent",
        secret_hash="",
        agent=str(claims.payload["iss"]),
        tokens=tokens,
        said=claims.payload["args"],
        command=str(claims.payload["cmd"]),
        held=holding if isinstance(holding, HeldCapability) else None,
        fault=fault,
    )
    # What is faulty is refused as often as it comes, and is nothing to remember.
    if isinstance(found, VerifiedClaims) and fault is None:
        use = verification.use_of(found, claims.root["iss"])
        if await chain_verification.run(ports, verification.claim_once(use)) is not None:
            used = "this invocation was used before, and works once: sign another"
            raise _unauthorized(ChainFault("replayed", used))
    return holder


async def _verified(
    ports: Context, token: str
) -> tuple[UnverifiedToken, str, VerifiedClaims | Rejection]:
    """Have an invocation verified, in one request to the binary.

    Returns what it says, the tenant of its root, and what is verified of it. Raises ControlError
    for text that cannot be read, a root of another server and a life that is too long, in that
    order: nothing is looked up for these.
    """
    if len(token) > MAX_TOKEN:
        raise _unauthorized(
            ChainFault("malformed_ucan", f"the token is longer than {MAX_TOKEN} bytes")
        )
    if not chain_verification.JWT.fullmatch(token):
        raise _unauthorized(ChainFault("malformed_ucan", chain_verification.NO_JWT))
    claims = unverified.read(token, ports.max_chain_depth)
    tenant = None if claims is None else _tenant(ports, claims)
    found = None
    if claims is not None and tenant is not None and not _is_long_lived(claims):
        found = await chain_verification.prove_invocation(ports, token, claims, tenant)
    if claims is not None and tenant is not None and found is not None:
        return claims, tenant, found
    fault = await chain_verification.check_text(ports, token, claims)
    if fault is None and tenant is None:
        fault = ChainFault("untrusted_issuer", "the chain's root is not of this server")
    raise _unauthorized(fault or ChainFault("malformed_ucan", LONG_LIVED))


def _tenant(ports: Context, claims: UnverifiedToken) -> str | None:
    issuer = claims.root.get("iss")
    return dict(ports.key_log.trusted).get(issuer) if isinstance(issuer, str) else None


def _is_long_lived(claims: UnverifiedToken) -> bool:
    """Whether an invocation lives longer than it may, or says nothing of it that can be read.

    It cannot begin later than now, so neither can it end later than this.
    """
    begin, end = claims.payload.get("iat"), claims.payload.get("exp")
    if not isinstance(begin, int) or not isinstance(end, int):
        return True
    return end - begin > LIFE_SECONDS + BACKDATED


async def _app(
    ports: Context, tenant: str, claims: UnverifiedToken, fault: ChainFault | None
) -> str:
    """The app that the issuer granted the chain to. Raises ControlError if it may not act."""
    app = mapping(claims.root.get("meta")).get("app_id")
    found = await ports.store.apps.find(tenant, app) if isinstance(app, str) else None
    if found is None:
        raise ControlError("app_disabled", "the app that this chain was granted to is not known")
    # What was revoked is told as that, which is on record.
    if found.disabled_at is not None and (fault is None or fault.reason != "revoked"):
        raise _disabled()
    return found.app.id


def _disabled() -> ControlError:
    return ControlError("app_disabled", "the app that this chain was granted to is disabled")


def _same(one: object, other: object) -> bool:
    """Equal as JSON, in which 9.0 is 9 and 1 is not true."""
    try:
        return canonical(one) == canonical(other)
    except ValueError:
        return False


def _unauthorized(fault: ChainFault) -> ControlError:
    code = TOKEN_CODES.get(fault.reason, "malformed_ucan")
    return ControlError(code, fault.message, headers={"www-authenticate": 'Bearer realm="nomos"'})
