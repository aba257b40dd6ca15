"""What a verifier does with a token, shared by the sync and async verifiers.

    verify   token, call → what it proves; what works once is used up, last of all
    why      token, perhaps a call → the same as text for people; nothing is used up

The way through is `nomos._core.verification`. What is a verifier's own: which texts are no token,
the caller's call in canonical form, approvals, and the `Denied` of each refusal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, get_args

from nomos._core import token_report, verification
from nomos._core.approval_rule import check_approval
from nomos._core.call import RequestedCall, canonical_call
from nomos._core.clock import out_of_time
from nomos._core.denials import denied, denied_from
from nomos._core.effects import Effect, Flow
from nomos._core.read_commands import is_signed_read
from nomos._core.remedies import API_KEY, UNAVAILABLE
from nomos._core.unverified import mapping, read
from nomos._core.verification import (
    LOOKUP_FAILED,
    Rejection,
    RevocationRules,
    Stale,
    VerifiedClaims,
)
from nomos._limits import MAX_LINKS, MAX_TOKEN
from nomos._protocol import Call, Verify
from nomos._protocol import Verified as Proven
from nomos._sealed import make
from nomos.errors import Denied, SignerError
from nomos.models import LEEWAY_SECONDS, VerificationCode, Verified

_VERIFICATION: Final = frozenset(get_args(VerificationCode))
_SPACE: Final = re.compile(r"\s")
_REUSED: Final = {
    "approval_already_used": ("the approval behind this token was used before", None),
    "replayed": ("this token was used before", "nonce"),
}


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
    call, wrong = (None, None) if asked is None else canonical_call(asked)
    lookup = RevocationRules(rules.max_age, rules.stale)
    found = yield from verification.verify(_question(rules, text, call, now), claims, lookup)
    unsigned = isinstance(found, Rejection) and found.answer.code == "invalid_request"
    if isinstance(found, Rejection) and unsigned and call is not None:
        # All else in the question was checked: it is the call that nobody could sign.
        message = f"the call is no plain JSON: {found.answer.message}"
        wrong = denied("resource_mismatch", message, "args")
        found = yield from _without_call(rules, text, found, now)
    if isinstance(found, Rejection):
        raise _denied(rules, found, now)
    if wrong is not None:
        raise wrong
    if asked is not None and asked.bound:
        _check_bound(asked, found.proven)
    trouble = check_approval(found.proven.meta or {}, found.claims.root, rules.audience)
    if trouble is not None:
        raise denied(*trouble, hop=0)
    return found


def _without_call(
    rules: VerifierRules, text: str, found: Rejection, now: int
) -> Flow[VerifiedClaims | Rejection]:
    """Verify a token for no call, with what was looked up for it before."""
    if found.view is None:
        return found
    question = _question(rules, text, None, now)
    return (yield from verification.ask(question, found.claims, found.view))


def _question(rules: VerifierRules, text: str, call: Call | None, now: int) -> Verify:
    """Return what to ask the binary about a token."""
    return Verify(
        invocation=text,
        now=now,
        leeway=rules.leeway,
        max_depth=rules.max_depth,
        trusted_issuers=list(rules.trusted_issuers),
        audience=rules.audience,
        accept_unlinked=rules.accept_unlinked,
        pdp=True if rules.pdp else None,
        call=call,
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


def _denied(rules: VerifierRules, rejection: Rejection, now: int) -> Denied | SignerError:
    """Return what to raise for a token that is refused."""
    answer, claims, view = rejection.answer, rejection.claims, rejection.view
    trouble = None if view is None else view.seen.trouble
    if answer.code not in _VERIFICATION:
        return SignerError(answer.message, code=answer.code, hop=answer.hop)
    if answer.code == "untrusted_issuer" and not rules.trusted_issuers:
        # To know no issuer yet is not the same as not to trust this one.
        refusal = denied("revocations_stale", trouble or LOOKUP_FAILED)
    elif rejection.is_delegation:
        message = "this is a delegation, which hands authority on, and no call"
        refusal = denied_from(
            answer.model_copy(update={"field": "typ"}), (), used=True, message=message
        )
    else:
        links = () if claims is None else claims.links
        better = out_of_time(answer.code, answer.found, now, rules.server_time)
        if answer.code == "revocations_stale":
            better = trouble
        refusal = denied_from(answer, links, used=True, message=better or "")
    if refusal.code == "revocations_stale" and view is not None:
        refusal.__cause__ = view.failure  # why nothing could be looked up
    return refusal


def _check_bound(asked: RequestedCall, proven: Proven) -> None:
    """Refuse a token that leaves an argument of the call open."""
    for name in sorted(asked.args.keys() - (proven.args or {}).keys()):
        message = "this service wants each argument signed, and the token leaves one open"
        raise denied("resource_mismatch", message, f"args.{name}", hop=len(proven.cids))


def _claim_once(rules: VerifierRules, proof: VerifiedClaims) -> Flow[None]:
    """Use up what works once: an approval whatever it is for, or a write. The last thing of all."""
    meta = proof.proven.meta or {}
    if "approval" not in meta and is_signed_read(meta, proof.proven.cmd):
        return
    try:
        used = yield from verification.claim_once(verification.use_of(proof, rules.audience))
    except Denied:
        raise
    except verification.NoAnswer as error:
        raise denied(UNAVAILABLE, str(error), "replay") from None
    except Exception as error:
        message = "whether this token was used before cannot be known now"
        raise denied(UNAVAILABLE, message) from error
    if used is not None:
        message, field = _REUSED[used]
        raise denied(used, message, field)
