"""The flows that verify a token: revocation lookup, one request to the binary, and the claim.

    claims       the token's content, read in Python (`unverified`): not verified
    look up      which of the identifiers in it are revoked, and the age of the view
    verify       one request to the binary, with those revocations and the call
    compare      the binary's answer must be about the claims that were read, or it is an error
    claim once   the nonce or approval is claimed, after everything else

`Verifier`, the PDP and the control plane run these flows and add their own steps: the PDP evaluates
policy and stores receipts between `verify` and `claim_once`. A rejected token is a value,
`Rejection`, with the binary's code and hop; each caller raises its own error for it. An unknown
result is never an allow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nomos._core.effects import Effect, Flow, Sign, perform
from nomos._core.revocation_status import NEVER, RevocationStatus
from nomos._core.shares import APPROVAL
from nomos._core.unverified import (
    MAX_IDS,
    Payload,
    UnverifiedChain,
    UnverifiedToken,
)
from nomos._json import mapping
from nomos._protocol import Refused, Verify
from nomos._protocol import Verified as Proven
from nomos.errors import SignerError
from nomos.models import DenyReason

Stale = Literal["refuse", "allow"]
Reused = Literal["replayed", "approval_already_used"]

LOOKUP_FAILED: Final = "revocations cannot be looked up now, so every token is rejected"
OTHER_ANSWER: Final = "unexpected response from the signing binary"

SIGNED: Final[frozenset[DenyReason]] = frozenset(
    {
        "expired",
        "not_yet_valid",
        "chain_invalid",
        "chain_attenuation_violation",
        "revoked",
        "revocations_stale",
        "audience_mismatch",
        "resource_out_of_scope",
        "resource_mismatch",
    }
)
"""Codes that the binary returns only if every signature of a chain with links is verified.
`untrusted_issuer` is left out, since such a chain names no tenant."""

_KEYS: Final = ("iss", "aud")
"""Claims that `malformed_ucan` may name although every token's text is well-formed (V3.1)."""


@dataclass(frozen=True)
class LookupRevocations(Effect[RevocationStatus]):
    """Look up which of `ids` are revoked."""

    ids: frozenset[str]


@dataclass(frozen=True)
class ClaimNonce(Effect[bool]):
    """Claim a nonce or an approval: True for exactly one caller."""

    issuer: str
    audience: str
    nonce: str = field(repr=False)
    expires_at: int
    family: str | None = None
    """The issuer, and the app that received its authority; without an app, the first agent."""


@dataclass(frozen=True)
class RevocationRules:
    """The maximum age of a revocation view in seconds, and the handling of an older one.

    A `recorded` view is the store of revocations itself: it has no age, and its failure is an error
    of this service. If any other view fails, the token is rejected as stale.
    """

    max_age: int = 5
    stale: Stale = "refuse"
    recorded: bool = False


@dataclass(frozen=True)
class RevocationResult:
    """The revoked identifiers of a token, the view's maximum age, and the error of the lookup."""

    seen: RevocationStatus
    oldest: int
    failure: Exception | None = None


@dataclass(frozen=True)
class VerifiedClaims:
    """The binary's result, and the claims that it verified."""

    proven: Proven
    claims: UnverifiedChain


@dataclass(frozen=True)
class Rejection:
    """A rejected token: the binary's answer, unverified `claims`, and the `view`, if looked up."""

    answer: Refused
    claims: UnverifiedChain | None
    view: RevocationResult | None = None

    @property
    def was_read(self) -> bool:
        """Whether the binary found the text well-formed, so that it reads `claims` in the same way.

        Of a chain that is too deep, only the invocation was read.
        """
        if self.claims is None:
            return False
        if self.answer.code == "malformed_ucan":
            return self.answer.field in _KEYS
        return self.answer.code == "chain_too_deep" or bool(self.claims.chain)

    @property
    def is_delegation(self) -> bool:
        """Whether a delegation was sent in place of an invocation."""
        token = self.claims if self.answer.code == "malformed_ucan" else None
        return isinstance(token, UnverifiedToken) and "pol" in token.payload


def verify(
    question: Verify, claims: UnverifiedChain | None, rules: RevocationRules
) -> Flow[VerifiedClaims | Rejection]:
    """Look up revocations, then have the binary verify the token in one request.

    `question` is the request without revocations; `claims` are the token's, None if unreadable.
    Raises `SignerError` if the binary gives no answer to this request.
    """
    view = yield from _look_up(claims, rules)
    if isinstance(view, Rejection):
        return view
    return (yield from ask(question, claims, view))


def ask(
    question: Verify, claims: UnverifiedChain | None, view: RevocationResult
) -> Flow[VerifiedClaims | Rejection]:
    """The same as `verify`, with a lookup that was already made."""
    known = {
        "revoked": sorted(view.seen.revoked),
        "revocations_age": view.seen.age_seconds,
        "revocations_max_age": view.oldest,
    }
    answer = yield from perform(Sign(question.model_copy(update=known)))
    if isinstance(answer, Refused):
        return Rejection(answer, claims, view)
    if not isinstance(answer, Proven) or claims is None or not _is_about(answer, claims, question):
        raise SignerError(OTHER_ANSWER)
    if view.seen.revoked:
        # The binary rejects revoked identifiers itself; this check does not depend on it.
        message = f"revoked: {', '.join(sorted(view.seen.revoked))}"
        return Rejection(Refused(code="revoked", message=message), claims, view)
    return VerifiedClaims(answer, claims)


def claim_once(use: ClaimNonce) -> Flow[Reused | None]:
    """Claim a nonce or an approval, as the last step; return the code if it was used before.

    Exceptions of the store propagate. Raises `NoAnswer` if it returns neither True nor False.
    """
    first = yield from perform(use)
    if first is True:
        return None
    if first is False:
        return "approval_already_used" if use.issuer == APPROVAL else "replayed"
    raise NoAnswer("the replay store returned neither True nor False")


class NoAnswer(Exception):
    """The replay store returned neither True nor False."""


def use_of(found: VerifiedClaims, audience: str) -> ClaimNonce:
    """Return the claim for a call at `audience`: of its approval, or else of its nonce.

    A claimed approval is kept until its delegation expires, since other calls can be signed on it.
    """
    proven, root = found.proven, found.claims.root
    app = (proven.meta or {}).get("app_id")
    # All keys of one app are one family. The same app name at another issuer is another family.
    family = f"{proven.root} {app if isinstance(app, str) else root_agent(root)}"
    if "approval" in (proven.meta or {}):
        return ClaimNonce(APPROVAL, audience, proven.cids[-1], int(root["exp"]), family)
    return ClaimNonce(proven.agent, audience, str(proven.nonce), proven.expires_at, family)


def root_agent(root: Payload) -> str:
    """Return the first agent: the one that the root names in its lineage, or else its audience."""
    named = mapping(mapping(root.get("meta")).get("lineage")).get("root")
    return named if isinstance(named, str) else str(root.get("aud"))


def _look_up(
    claims: UnverifiedChain | None, rules: RevocationRules
) -> Flow[RevocationResult | Rejection]:
    """Return which identifiers of a token are revoked, as far as that is known.

    A failed lookup never means "not revoked": the binary rejects the token as stale, after its
    earlier rules.
    """
    names = frozenset[str]() if claims is None else claims.ids()
    if len(names) > MAX_IDS:
        message = f"the token names more than {MAX_IDS} other tokens and keys"
        return Rejection(Refused(code="malformed_ucan", message=message), claims)
    try:
        seen = yield from perform(LookupRevocations(names))
        age = _age(seen)
        known = RevocationStatus(names & seen.revoked, age, seen.error)
    except Exception as error:
        if rules.recorded:
            raise
        why = str(error) if isinstance(error, _Ahead) else type(error).__name__
        unknown = RevocationStatus(frozenset(), NEVER, f"{LOOKUP_FAILED} ({why})")
        return RevocationResult(unknown, rules.max_age, error)
    # A view that was never complete is unusable; an old view is accepted with `stale="allow"`.
    old = rules.stale == "allow" and age < NEVER
    return RevocationResult(known, max(rules.max_age, age) if old else rules.max_age)


class _Ahead(ValueError):
    """A revocation view with a time in the future."""


def _age(seen: RevocationStatus) -> int:
    """Return the age of a view in whole seconds, rounded up, at most NEVER."""
    if seen.age_seconds < 0:
        raise _Ahead(f"the view is dated {-seen.age_seconds:g} s in the future; check the clocks")
    return min(math.ceil(seen.age_seconds), NEVER)


def _is_about(proven: Proven, claims: UnverifiedChain, question: Verify) -> bool:
    """Whether the binary verified the claims whose revocations were looked up, and no others."""
    if not claims.chain:
        return False
    signed: Payload = {}
    cid: str | None = None
    if question.invocation is not None and isinstance(claims, UnverifiedToken):
        signed, cid = claims.payload, claims.cid
    leaf = claims.chain[-1].payload
    answered: tuple[Any, ...] = (proven.cid, tuple(proven.cids), proven.agent, proven.root)
    return (
        answered == (cid, claims.cids, signed.get("iss", leaf.get("aud")), claims.root.get("iss"))
        and proven.lineage == claims.root.get("prf", [])
        and proven.nonce == signed.get("nonce")
        and (question.invocation is None) == (cid is None)
    )
