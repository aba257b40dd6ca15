"""What an invocation claims, what it proves, and what policy may know about who holds it.

`claims` reads a token without trusting it, to learn what to look up among revocations. `prove`
has the binary verify it against those and the call at hand. Only what `prove` returned is ever
used for a decision.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nomos._core.policy_messages import failed_statement
from nomos._core.remedies import API_KEY, fix_at, remedy
from nomos._core.revocation_status import Seen
from nomos._protocol import Answer, Call, Inspect, Inspected, Refused, Request, Verified, Verify
from nomos.errors import SignerError
from nomos.models import MAX_PURPOSE
from nomos.server.domain import lineage
from nomos.server.domain.lineage import Lineage
from nomos.server.pdp.approval import TokenApproval, approval
from nomos.server.pdp.context import PdpContext
from nomos.server.pdp.statuses import STATUS, PdpError, denied

log = logging.getLogger(__name__)

_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_PINNED_ARG: Final = re.compile(r'\.args(?:\.([a-z][a-z0-9_]*)|\["([^"]+)"\])')


@dataclass(frozen=True)
class ChainHolder:
    """Who holds a proven token and how they came by it, for policy and the record.

    `pinned` names the arguments that the issuer's own `pol` holds to a value; None is all.
    `approval` is what people approved.
    """

    descent: Lineage
    tenant: str
    purpose: str | None
    facts: Mapping[str, Any]
    pinned: frozenset[str] | None
    approval: TokenApproval | None


@dataclass(frozen=True)
class ClaimedInvocation:
    """A token that was read and not believed: the invocation, and its chain, root first."""

    token: str = field(repr=False)
    invocation: Inspected
    links: tuple[Inspected, ...]

    def root(self) -> str | None:
        """Return the DID that the token says its chain begins with."""
        root = self.invocation.payload.get("sub")
        return root if isinstance(root, str) else None

    def ids(self) -> set[str]:
        """Return what must not be revoked for this token to be honoured."""
        return lineage.revocation_ids((self.invocation, *self.links), self.links)


def bearer(headers: Sequence[str], cap: int) -> str:
    """Return the token of the one `Authorization` header."""
    if not headers:
        missing = denied(
            "malformed_ucan",
            "send the token of a grant: `authorization: Bearer <grant.ucan>`",
        )
        missing.headers["www-authenticate"] = "Bearer"
        raise missing
    scheme, _, token = headers[0].strip().partition(" ")
    token = token.strip()
    if len(headers) > 1 or scheme.lower() != "bearer":
        raise denied("malformed_ucan", "send one authorization header, `Bearer <grant.ucan>`")
    if len(token) > cap:
        raise denied("malformed_ucan", f"the token is longer than {cap} bytes")
    if token.startswith(API_KEY):
        raise denied(
            "malformed_ucan",
            "this is an API key, and not a token: send what `grant.headers()` returns, and the key "
            "to the control plane alone",
        )
    if not _JWT.fullmatch(token):
        raise denied("malformed_ucan", "the token is not three base64url parts joined by dots")
    return token


async def claims(ports: PdpContext, token: str) -> ClaimedInvocation:
    """Return what a token says of itself, none of it trusted."""
    invocation = await _ask(ports, Inspect(token=token))
    if not isinstance(invocation, Inspected):
        raise _no_answer()
    if invocation.kind != "invocation":
        raise denied(
            "malformed_ucan",
            "this is a delegation, which hands authority on; a call needs an invocation, as in "
            "`grant.ucan` or `grant.headers()`",
        )
    chain = invocation.payload["prf"]
    if len(chain) > ports.max_chain_depth:
        # Left for `prove` to refuse: it says so before it looks at any of them.
        return ClaimedInvocation(token, invocation, ())
    return ClaimedInvocation(token, invocation, tuple([await _link(ports, link) for link in chain]))


async def prove(ports: PdpContext, claimed: ClaimedInvocation, call: Call | None) -> Verified:
    """Return what a token proves for `call`; None when the request makes no call we know."""
    what = {"invocation": claimed.token, "audience": ports.pdp_did, "call": call, "pdp": True}
    return await _verified(ports, claimed, what)


async def verify_chain(ports: PdpContext, claimed: ClaimedInvocation) -> Verified:
    """Return what whoever signed a token holds by its chain, for a token that is refused itself.

    Raises PdpError if the chain is no good, or somebody else's.
    """
    chain = claimed.invocation.payload["prf"]
    return await _verified(
        ports, claimed, {"chain": chain, "audience": claimed.invocation.payload["iss"]}
    )


async def _verified(
    ports: PdpContext, claimed: ClaimedInvocation, what: Mapping[str, Any]
) -> Verified:
    seen = await _seen(ports, claimed.ids())
    try:
        verified = await _ask(
            ports,
            Verify(
                now=int(ports.clock()),
                max_depth=ports.max_chain_depth,
                trusted_issuers=sorted(ports.trusted_issuers),
                revoked=sorted(seen.ids),
                revocations_age=seen.age,
                revocations_max_age=ports.limits.revocations_max_age,
                **what,
            ),
        )
    except PdpError as refusal:
        if refusal.reason == "revocations_stale" and seen.trouble is not None:
            raise denied("revocations_stale", seen.trouble) from None
        if refusal.reason == "expired" and refusal.hop == len(claimed.links):
            refusal.fix = remedy("expired", part="call")
        raise
    # A root or a link other than those looked up above would have escaped its revocation.
    if (
        not isinstance(verified, Verified)
        or verified.cids != [link.cid for link in claimed.links]
        or verified.root != claimed.links[0].payload["iss"]
        or (verified.nonce is None) != ("chain" in what)
    ):
        raise _no_answer()
    tenant_of(ports, verified)
    if seen.ids:
        # The verifier knows tokens and who signed them; the rest of what was looked up is ours.
        raise denied("revoked", f"revoked: {', '.join(sorted(seen.ids))}")
    return verified


def holder_of(
    ports: PdpContext, claimed: ClaimedInvocation, verified: Verified, descent: Lineage
) -> ChainHolder:
    """Return who holds a verified token; only the issuer's own words count for authority."""
    meta = verified.meta or {}
    facts = lineage.mapping(meta.get("facts"))
    purpose = facts.get("purpose")
    return ChainHolder(
        descent=descent,
        tenant=tenant_of(ports, verified),
        purpose=purpose[:MAX_PURPOSE] if isinstance(purpose, str) else None,
        facts=lineage.mapping(facts.get("agent")),
        pinned=signed_args(claimed.links[0].payload.get("pol")),
        approval=approval(meta, claimed.links, ports.pdp_did),
    )


def tenant_of(ports: PdpContext, verified: Verified) -> str:
    """Return whose tenant's a verified token is; its issuer's time may have ended since."""
    tenant = ports.trusted_issuers.get(verified.root)
    if tenant is None:
        raise denied("untrusted_issuer", "the root's issuer is not trusted any more", hop=0)
    return tenant


def signed_args(pol: object) -> frozenset[str] | None:
    """Return the arguments that a `pol` holds to one value each; None when it holds them all."""
    names: set[str] = set()
    for statement in pol if isinstance(pol, list) else []:
        match statement:
            case ["==", ".args", _]:
                return None
            case ["==", str(selector), _] if found := _PINNED_ARG.fullmatch(selector):
                names.add(found[1] or found[2])
    return frozenset(names)


async def _link(ports: PdpContext, token: object) -> Inspected:
    link = await _ask(ports, Inspect(token=str(token)))
    if not isinstance(link, Inspected) or link.kind != "delegation":
        raise denied("malformed_ucan", "the token's chain holds something else than delegations")
    return link


async def _ask(ports: PdpContext, request: Request) -> Answer:
    try:
        answer = await ports.signer.ask(request)
    except SignerError:
        log.exception("the verifier gave no answer")
        raise _no_answer() from None
    if not isinstance(answer, Refused):
        return answer
    for reason in STATUS:
        if reason == answer.code:
            # Whoever sends a token can read its statements; of the call, nothing is repeated.
            message = failed_statement(answer, tell_found=False) or answer.message
            raise denied(reason, message, hop=answer.hop, fix=fix_at(answer.code, answer.field))
    log.error("the verifier refused a request of ours: %s", answer.code)
    raise _no_answer()


async def _seen(ports: PdpContext, ids: set[str]) -> Seen:
    try:
        return await ports.revocations.among(ids)
    except Exception:
        # Whatever is wrong with the view: unknown is not "not revoked". It is left to the
        # verifier to say so, once it knows that the token is worth that answer.
        log.exception("revocations cannot be looked up")
        return Seen(
            frozenset(),
            ports.limits.revocations_max_age + 1,
            "revocations cannot be looked up now, so no token is honoured",
        )


def _no_answer() -> PdpError:
    return PdpError("unavailable", "the token cannot be verified now, so nothing was done")
