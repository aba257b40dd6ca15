"""What a verifier does with a token, written once for both colours.

    verify   token, call → what it proves; what works once is used up, last of all
    why      token, perhaps a call → the same as text for people; nothing is used up

What to look up among revocations is read from the token before any of it is believed, and compared
afterwards with what the binary proved, so that nothing can have escaped its revocation. Whatever
is unknown is a no.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, get_args

from nomos._core import token_report
from nomos._core.approval_rule import check_approval
from nomos._core.call import RequestedCall, canonical_call
from nomos._core.clock import out_of_time
from nomos._core.denials import denied, denied_from
from nomos._core.effects import Effect, Flow, Sign, perform
from nomos._core.read_commands import is_signed_read
from nomos._core.remedies import API_KEY, UNAVAILABLE
from nomos._core.revocation_status import NEVER, Seen
from nomos._core.shares import APPROVAL
from nomos._core.tokens import MAX_TOKEN
from nomos._core.unverified import MAX_IDS, UnverifiedToken, mapping, read
from nomos._protocol import Refused, Verify
from nomos._protocol import Verified as Proven
from nomos._sealed import make
from nomos.errors import Denied, SignerError
from nomos.models import LEEWAY_SECONDS, VerificationCode, Verified

Stale = Literal["refuse", "allow"]

MAX_LINKS: Final = 32
"""Links that are read for people; no verifier allows more."""

_VERIFICATION: Final = frozenset(get_args(VerificationCode))
_SPACE: Final = re.compile(r"\s")
_UNSEEN: Final = "what was revoked cannot be looked up now, so no token is honoured"
_NO_CALL: Final = "this is a delegation, which hands authority on, and no call"
_OTHER: Final = "the signing binary gave another answer than was asked for"


@dataclass(frozen=True)
class VerifierRules:
    """What a verifier was told: whom to believe, who it is, and how strict to be."""

    trusted_issuers: tuple[str, ...]
    audience: str
    max_depth: int
    leeway: int = LEEWAY_SECONDS
    stale: Stale = "refuse"
    max_age: int = 5
    accept_unlinked: bool = False
    server_time: float | None = None
    """The time at the control plane that is followed, as far as it has told."""
    pdp: bool = False
    """Whether whoever judges decides by policy again. No `Verifier` does."""


@dataclass(frozen=True)
class AwaitFirstSync(Effect[None]):
    """Wait for the first answer of the control plane that is followed, though not for long."""


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
class RevocationResult:
    """What of a token is revoked, and how old that may be to be believed.

    `failure` is why nothing could be looked up, if that is so.
    """

    seen: Seen
    oldest: int
    failure: Exception | None = None


@dataclass(frozen=True)
class VerifiedClaims:
    """What the binary proved of a token, and the text that it proved it of."""

    proven: Proven
    claims: UnverifiedToken


def verify(rules: VerifierRules, token: object, asked: RequestedCall, now: int) -> Flow[Verified]:
    """Return what `token` proves for a call, once what works once is used up.

    Raises `Denied` for a token that is not good for it, and when that cannot be known;
    `SignerError` when the binary gives no answer.
    """
    proof = yield from verify_claims(rules, token, asked, now)
    yield from _claim_once(rules, proof)
    return verified(proof.proven)


def explain(
    rules: VerifierRules, token: object, asked: RequestedCall | None, now: int
) -> Flow[str]:
    """Return for people what `token` says, and whether it is good for a call; use nothing up."""
    trouble: Denied | SignerError | None = None
    try:
        yield from verify_claims(rules, token, asked, now)
    except (Denied, SignerError) as error:
        trouble = error
    return token_report.render_token(
        read(token, MAX_LINKS),
        trouble,
        audience=rules.audience,
        trusted=rules.trusted_issuers,
        call=None if asked is None else (asked.command, asked.resource, asked.args),
        now=now,
    )


def verify_claims(
    rules: VerifierRules, token: object, asked: RequestedCall | None, now: int
) -> Flow[VerifiedClaims]:
    """Return what `token` proves, for a call if there is one; nothing is used up."""
    text = _check_text(token)
    claims = read(text, rules.max_depth)
    view = yield from _look_up(rules, claims)
    question = _question(rules, text, view, now)
    call, wrong = (None, None) if asked is None else canonical_call(asked)
    answer = yield from perform(Sign(question.model_copy(update={"call": call})))
    if call is not None and isinstance(answer, Refused) and answer.code == "invalid_request":
        # All else in the question was checked: it is the call that nobody could sign.
        wrong = denied("resource_mismatch", f"the call is no plain JSON: {answer.message}", "args")
        answer = yield from perform(Sign(question))
    if isinstance(answer, Refused):
        raise _denied(rules, answer, view, claims, now)
    if not isinstance(answer, Proven) or claims is None or not _matches_lookup(answer, claims):
        raise SignerError(_OTHER)
    if view.seen.ids:
        # The binary finds all of these, and nothing passes that it does not.
        raise denied("revoked", f"it rests on what is revoked: {', '.join(sorted(view.seen.ids))}")
    if wrong is not None:
        raise wrong
    if asked is not None and asked.bound:
        _check_bound(asked, answer)
    trouble = check_approval(answer.meta or {}, claims.root, rules.audience)
    if trouble is not None:
        raise denied(*trouble, hop=0)
    return VerifiedClaims(answer, claims)


def _question(rules: VerifierRules, text: str, view: RevocationResult, now: int) -> Verify:
    """Return what to ask the binary about a token, whatever it is to be good for."""
    return Verify(
        invocation=text,
        now=now,
        leeway=rules.leeway,
        max_depth=rules.max_depth,
        trusted_issuers=list(rules.trusted_issuers),
        audience=rules.audience,
        revoked=sorted(view.seen.ids),
        revocations_age=view.seen.age,
        revocations_max_age=view.oldest,
        accept_unlinked=rules.accept_unlinked,
        pdp=True if rules.pdp else None,
    )


def verified(proven: Proven) -> Verified:
    """Return what the caller is told of a proven token."""
    meta = proven.meta or {}
    receipt, swarm = meta.get("receipt_id"), mapping(meta.get("lineage")).get("swarmId")
    return make(
        Verified,
        agent=proven.agent,
        root=proven.root,
        chain=tuple(proven.cids),
        depth=proven.depth,
        lineage=tuple(proven.lineage),
        command=proven.cmd,
        resource=proven.resource or {},
        args=proven.args or {},
        expires_at=datetime.fromtimestamp(proven.expires_at, UTC),
        receipt=receipt if isinstance(receipt, str) else None,
        swarm=swarm if isinstance(swarm, str) else None,
        cid=proven.cid or "",
        nonce=proven.nonce or "",
    )


def _check_text(token: object) -> str:
    """Return the token's text if it is worth being looked at."""
    if token is None:
        raise denied("malformed_ucan", "there is no token", part="nothing")
    if not isinstance(token, str) or not token.isascii():
        raise denied("malformed_ucan", "a token is a text of ASCII characters")
    if len(token) > MAX_TOKEN:
        raise denied("malformed_ucan", f"the token is longer than {MAX_TOKEN} characters")
    if token[:7].lower() == "bearer ":
        raise denied("malformed_ucan", "this is a header's value, and not the token", part="bearer")
    if token.startswith(API_KEY):
        raise denied("malformed_ucan", "this is an API key, and not a token", part="key")
    if _SPACE.search(token):
        raise denied("malformed_ucan", "it has line breaks or spaces in it", part="spaced")
    return token


def _look_up(rules: VerifierRules, claims: UnverifiedToken | None) -> Flow[RevocationResult]:
    """Return what of a token is revoked, as far as that is known.

    Whatever is wrong with the view: unknown is not "not revoked". It is left to the binary to say
    so, once it knows that the token is worth that answer.
    """
    names = frozenset[str]() if claims is None else claims.ids()
    if len(names) > MAX_IDS:
        raise denied("malformed_ucan", f"the token names more than {MAX_IDS} others")
    try:
        seen = yield from perform(LookupRevocations(names))
        age = _age(seen)
        known = Seen(names & seen.ids, age, seen.trouble)
    except Exception as error:  # noqa: BLE001 - a view may be anybody's
        why = str(error) if isinstance(error, _Ahead) else type(error).__name__
        trouble = f"{_UNSEEN} ({why})"
        return RevocationResult(Seen(frozenset(), NEVER, trouble), rules.max_age, error)
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


def _denied(
    rules: VerifierRules,
    answer: Refused,
    view: RevocationResult,
    claims: UnverifiedToken | None,
    now: int,
) -> Denied | SignerError:
    """Return what to raise for a refusal of the binary's."""
    if answer.code not in _VERIFICATION:
        return SignerError(answer.message, code=answer.code, hop=answer.hop)
    if answer.code == "untrusted_issuer" and not rules.trusted_issuers:
        # To know no issuer yet is not the same as not to trust this one.
        refusal = denied("revocations_stale", view.seen.trouble or _UNSEEN)
    elif answer.code == "malformed_ucan" and claims is not None and "pol" in claims.payload:
        message = "this is a delegation, which hands authority on, and no call"
        refusal = denied_from(
            answer.model_copy(update={"field": "typ"}), (), used=True, message=message
        )
    else:
        links = () if claims is None else claims.links
        better = out_of_time(answer.code, answer.found, now, rules.server_time)
        if answer.code == "revocations_stale":
            better = view.seen.trouble
        refusal = denied_from(answer, links, used=True, message=better or "")
    if refusal.code == "revocations_stale":
        refusal.__cause__ = view.failure  # why nothing could be looked up
    return refusal


def _check_bound(asked: RequestedCall, proven: Proven) -> None:
    """Refuse a token that leaves an argument of the call open."""
    for name in sorted(asked.args.keys() - (proven.args or {}).keys()):
        message = "this service wants each argument signed, and the token leaves one open"
        raise denied("resource_mismatch", message, f"args.{name}", hop=len(proven.cids))


def _matches_lookup(proven: Proven, claims: UnverifiedToken) -> bool:
    """Whether what was looked up is what was proven: others would have escaped revocation."""
    return (
        proven.cid == claims.cid
        and tuple(proven.cids) == claims.cids
        and proven.agent == claims.payload.get("iss")
        and proven.root == claims.root.get("iss")
        and proven.lineage == claims.root.get("prf", [])
    )


def _family(proof: VerifiedClaims) -> str:
    """Return on behalf of whom the issuer signed: many keys of one app are one."""
    app = (proof.proven.meta or {}).get("app_id")
    whose = app if isinstance(app, str) else str(proof.claims.root.get("aud"))
    # What one issuer calls an app says nothing of another issuer's.
    return f"{proof.proven.root} {whose}"


def _claim_once(rules: VerifierRules, proof: VerifiedClaims) -> Flow[None]:
    """Use up what works once: an approval whatever it is for, or a write. The last thing of all.

    An approval is kept for as long as its delegation lives, since other calls can be signed on it.
    """
    proven = proof.proven
    if "approval" in (proven.meta or {}):
        expires_at = int(proof.claims.root["exp"])
        use = ClaimNonce(APPROVAL, rules.audience, proven.cids[-1], expires_at, _family(proof))
        again = denied("approval_already_used", "the approval behind this token was used before")
    elif is_signed_read(proven.meta or {}, proven.cmd):
        return
    else:
        nonce, expires_at = str(proven.nonce), proven.expires_at
        use = ClaimNonce(proven.agent, rules.audience, nonce, expires_at, _family(proof))
        again = denied("replayed", "this token was used before", "nonce")
    try:
        first = yield from perform(use)
    except Denied:
        raise
    except Exception as error:
        message = "whether this token was used before cannot be known now"
        raise denied(UNAVAILABLE, message) from error
    if first is False:
        raise again
    if first is not True:
        raise denied(UNAVAILABLE, "the store of used tokens answered neither yes nor no", "replay")
