"""One request to the binary about a token, and what has to hold around it.

    claims       what the token says, read in Python (`unverified`): not verified
    look up      which of the identifiers in it are revoked, as of how long ago
    verify       one request to the binary, with those revocations and the call
    compare      what the binary verified is what was read, or the answer counts for nothing
    claim once   what works once is used up, after everything else

`Verifier`, the PDP and the control plane run these flows and add what is theirs: the PDP decides
by policy and stores receipts between `verify` and `claim_once`. A refusal is a value, `Rejection`,
with the binary's code and hop; each caller raises its own error for it. What is unknown is a no.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nomos._core.effects import Effect, Flow, Sign, perform
from nomos._core.revocation_status import NEVER, Seen
from nomos._core.shares import APPROVAL
from nomos._core.unverified import (
    MAX_IDS,
    Payload,
    UnverifiedChain,
    UnverifiedToken,
    mapping,
)
from nomos._protocol import Refused, Verify
from nomos._protocol import Verified as Proven
from nomos.errors import SignerError
from nomos.models import DenyReason

Stale = Literal["refuse", "allow"]
Reused = Literal["replayed", "approval_already_used"]

LOOKUP_FAILED: Final = "what was revoked cannot be looked up now, so no token is honoured"
OTHER_ANSWER: Final = "the signing binary gave another answer than was asked for"

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
"""What the binary finds only once every signature of a chain with links was found valid, and of
the server's codes none else: an issuer that is not trusted names no tenant."""

_KEYS: Final = ("iss", "aud")
"""What `malformed_ucan` is about if the text of every token was found to be well-formed."""


@dataclass(frozen=True)
class LookupRevocations(Effect[Seen]):
    """Look up which of `ids` are revoked."""

    ids: frozenset[str]


@dataclass(frozen=True)
class ClaimNonce(Effect[bool]):
    """Use something up: True to exactly one caller."""

    issuer: str
    audience: str
    nonce: str = field(repr=False)
    expires_at: int
    family: str | None = None
    """The issuer, and the app that it granted the authority to, or its first agent."""


@dataclass(frozen=True)
class RevocationRules:
    """How old a view of revocations may be, in seconds, and what an older one means.

    A view that is `recorded` is the place where revocations are stored: it has no age, and one
    that fails is an error of this service. Any other view that fails makes a token stale.
    """

    max_age: int = 5
    stale: Stale = "refuse"
    recorded: bool = False


@dataclass(frozen=True)
class RevocationResult:
    """What of a token is revoked, and how old that may be to be accepted.

    `failure` is why nothing could be looked up, if that is so.
    """

    seen: Seen
    oldest: int
    failure: Exception | None = None


@dataclass(frozen=True)
class VerifiedClaims:
    """What the binary verified of a token, and the text that it verified it of."""

    proven: Proven
    claims: UnverifiedChain


@dataclass(frozen=True)
class Rejection:
    """Why a token is refused, in the binary's words; `claims` are not verified.

    `view` is None where nothing was looked up.
    """

    answer: Refused
    claims: UnverifiedChain | None
    view: RevocationResult | None = None

    @property
    def was_read(self) -> bool:
        """Whether the binary found the text well-formed, so that it reads `claims` as they are.

        A chain that is too deep was not looked at, only the invocation that has it.
        """
        if self.claims is None:
            return False
        if self.answer.code == "malformed_ucan":
            return self.answer.field in _KEYS
        return self.answer.code == "chain_too_deep" or bool(self.claims.chain)

    @property
    def is_delegation(self) -> bool:
        """Whether a delegation was sent where an invocation has to be."""
        token = self.claims if self.answer.code == "malformed_ucan" else None
        return isinstance(token, UnverifiedToken) and "pol" in token.payload


def verify(
    question: Verify, claims: UnverifiedChain | None, rules: RevocationRules
) -> Flow[VerifiedClaims | Rejection]:
    """Look up what of a token is revoked, and have the binary verify it: one request.

    `question` says all but that; `claims` are what the token says, None if it cannot be read.
    Raises `SignerError` when the binary gives no answer to this question.
    """
    view = yield from _look_up(claims, rules)
    if isinstance(view, Rejection):
        return view
    return (yield from ask(question, claims, view))


def ask(
    question: Verify, claims: UnverifiedChain | None, view: RevocationResult
) -> Flow[VerifiedClaims | Rejection]:
    """`verify`, with what was looked up already."""
    known = {
        "revoked": sorted(view.seen.ids),
        "revocations_age": view.seen.age,
        "revocations_max_age": view.oldest,
    }
    answer = yield from perform(Sign(question.model_copy(update=known)))
    if isinstance(answer, Refused):
        return Rejection(answer, claims, view)
    if not isinstance(answer, Proven) or claims is None or not _is_about(answer, claims, question):
        raise SignerError(OTHER_ANSWER)
    if view.seen.ids:
        # The binary finds all of these, and nothing passes that it does not.
        message = f"revoked: {', '.join(sorted(view.seen.ids))}"
        return Rejection(Refused(code="revoked", message=message), claims, view)
    return VerifiedClaims(answer, claims)


def claim_once(use: ClaimNonce) -> Flow[Reused | None]:
    """Use up what works once, the last thing of all; return the code if it was used before.

    What the store raises is raised. Raises `NoAnswer` if it answers neither yes nor no.
    """
    first = yield from perform(use)
    if first is True:
        return None
    if first is False:
        return "approval_already_used" if use.issuer == APPROVAL else "replayed"
    raise NoAnswer("the store of used tokens answered neither yes nor no")


class NoAnswer(Exception):
    """A store of used tokens that answers neither yes nor no."""


def use_of(found: VerifiedClaims, audience: str) -> ClaimNonce:
    """Return what a call at `audience` uses up: the approval that it rests on, or its token.

    An approval is kept for as long as its delegation lives, since other calls can be signed on it.
    """
    proven, root = found.proven, found.claims.root
    app = (proven.meta or {}).get("app_id")
    # Many keys of one app are one family; what another issuer calls an app is another.
    family = f"{proven.root} {app if isinstance(app, str) else root_agent(root)}"
    if "approval" in (proven.meta or {}):
        return ClaimNonce(APPROVAL, audience, proven.cids[-1], int(root["exp"]), family)
    return ClaimNonce(proven.agent, audience, str(proven.nonce), proven.expires_at, family)


def root_agent(root: Payload) -> str:
    """The agent at which it all began: named by a root that took a chain's place, or its holder."""
    named = mapping(mapping(root.get("meta")).get("lineage")).get("root")
    return named if isinstance(named, str) else str(root.get("aud"))


def _look_up(
    claims: UnverifiedChain | None, rules: RevocationRules
) -> Flow[RevocationResult | Rejection]:
    """Return what of a token is revoked, as far as that is known.

    Whatever is wrong with the view: unknown is not "not revoked". It is left to the binary to say
    so, once it knows that the token is worth that answer.
    """
    names = frozenset[str]() if claims is None else claims.ids()
    if len(names) > MAX_IDS:
        message = f"the token names more than {MAX_IDS} others"
        return Rejection(Refused(code="malformed_ucan", message=message), claims)
    try:
        seen = yield from perform(LookupRevocations(names))
        age = _age(seen)
        known = Seen(names & seen.ids, age, seen.trouble)
    except Exception as error:
        if rules.recorded:
            raise
        why = str(error) if isinstance(error, _Ahead) else type(error).__name__
        unknown = Seen(frozenset(), NEVER, f"{LOOKUP_FAILED} ({why})")
        return RevocationResult(unknown, rules.max_age, error)
    # A view that never was complete is none; one that has grown old may do for who says so.
    old = rules.stale == "allow" and age < NEVER
    return RevocationResult(known, max(rules.max_age, age) if old else rules.max_age)


class _Ahead(ValueError):
    """A view that says that it is from the future."""


def _age(seen: Seen) -> int:
    """Return how old a view is in whole seconds, as old as it may be."""
    if seen.age < 0:
        raise _Ahead(f"the view of it is {-seen.age:g} s younger than now: are the clocks right?")
    return min(math.ceil(seen.age), NEVER)


def _is_about(proven: Proven, claims: UnverifiedChain, question: Verify) -> bool:
    """Whether what was looked up is what was verified: others would have escaped revocation."""
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
