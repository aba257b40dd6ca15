"""Verification of a token for `Verifier` and `AsyncVerifier`, and its description as text.

    verify   token, call → what was verified; the nonce or approval is claimed last
    explain  token, call or None → the same as text for people; nothing is claimed

The flows of `nomos._core.verification` do the rest. Here are the checks that are only a verifier's:
text that is not a token, the canonical form of the caller's call, approvals, and the `Denied` of
each rejection.
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
from nomos._core.unverified import read
from nomos._core.verification import (
    LOOKUP_FAILED,
    Rejection,
    RevocationRules,
    Stale,
    VerifiedClaims,
)
from nomos._json import mapping
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
    """The settings of a verifier that decide about tokens: trusted issuers, audience and limits."""

    trusted_issuers: tuple[str, ...]
    audience: str
    max_depth: int
    leeway: int = LEEWAY_SECONDS
    stale: Stale = "refuse"
    max_age: int = 5
    allow_missing_prf: bool = False
    server_time: float | None = None
    """The control plane's time in Unix seconds, if one is followed and it is known."""
    pdp: bool = False
    """Whether the service evaluates Cedar policy for each call. False for every `Verifier`."""


@dataclass(frozen=True)
class AwaitFirstSync(Effect[None]):
    """Wait a limited time for the first answer of the control plane that is followed."""


def verify(rules: VerifierRules, token: object, asked: RequestedCall, now: int) -> Flow[Verified]:
    """Return what `token` proves for a call, and claim what works once (V9).

    Raises `Denied` if the token is not valid for the call, or if this cannot be known;
    `SignerError` if the binary gives no answer.
    """
    proof = yield from verify_claims(rules, token, asked, now)
    yield from _claim_once(rules, proof)
    return verified(proof.proven)


def explain(
    rules: VerifierRules, token: object, asked: RequestedCall | None, now: int
) -> Flow[str]:
    """Return a description of `token`, and whether it is valid for a call. Claims nothing."""
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
    """Return what `token` proves, for a call if there is one. Claims nothing."""
    text = _check_text(token)
    claims = read(text, rules.max_depth)
    call, wrong = (None, None) if asked is None else canonical_call(asked)
    lookup = RevocationRules(rules.max_age, rules.stale)
    found = yield from verification.verify(_question(rules, text, call, now), claims, lookup)
    unsigned = isinstance(found, Rejection) and found.answer.code == "invalid_request"
    if isinstance(found, Rejection) and unsigned and call is not None:
        # The binary checked the rest of the request, so the call itself cannot be signed.
        message = f"the call is no plain JSON: {found.answer.message}"
        wrong = denied("resource_mismatch", message, "args")
        found = yield from _without_call(rules, text, found, now)
    if isinstance(found, Rejection):
        raise _denied(rules, found, now)
    if wrong is not None:
        raise wrong
    if asked is not None and asked.require_signed_args:
        _check_bound(asked, found.proven)
    trouble = check_approval(found.proven.meta or {}, found.claims.root, rules.audience)
    if trouble is not None:
        raise denied(*trouble, hop=0)
    return found


def _without_call(
    rules: VerifierRules, text: str, found: Rejection, now: int
) -> Flow[VerifiedClaims | Rejection]:
    """Verify a token without a call, with the revocations that were already looked up."""
    assert found.view is not None, "the binary was asked, so revocations were looked up"
    question = _question(rules, text, None, now)
    return (yield from verification.ask(question, found.claims, found.view))


def _question(rules: VerifierRules, text: str, call: Call | None, now: int) -> Verify:
    """Return the request to the binary about a token."""
    return Verify(
        invocation=text,
        now=now,
        leeway=rules.leeway,
        max_depth=rules.max_depth,
        trusted_issuers=list(rules.trusted_issuers),
        audience=rules.audience,
        allow_missing_prf=rules.allow_missing_prf,
        pdp=True if rules.pdp else None,
        call=call,
    )


def verified(proven: Proven) -> Verified:
    """Return the public form of a verified token."""
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
        receipt_id=receipt if isinstance(receipt, str) else None,
        swarm=swarm if isinstance(swarm, str) else None,
        cid=proven.cid or "",
        nonce=proven.nonce or "",
    )


def _check_text(token: object) -> str:
    """Return the token if its text is worth verifying. Raises `Denied`."""
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
    """Return the exception for a rejected token."""
    answer, claims, view = rejection.answer, rejection.claims, rejection.view
    trouble = None if view is None else view.seen.error
    if answer.code not in _VERIFICATION:
        return SignerError(answer.message, code=answer.code, hop=answer.hop)
    if answer.code == "untrusted_issuer" and not rules.trusted_issuers:
        # No issuer is known yet; that differs from an issuer that is not trusted.
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
        refusal.__cause__ = view.failure  # why the lookup failed
    return refusal


def _check_bound(asked: RequestedCall, proven: Proven) -> None:
    """Reject a token that does not sign each argument of the call."""
    for name in sorted(asked.args.keys() - (proven.args or {}).keys()):
        message = "this service wants each argument signed, and the token leaves one open"
        raise denied("resource_mismatch", message, f"args.{name}", hop=len(proven.cids))


def _claim_once(rules: VerifierRules, proof: VerifiedClaims) -> Flow[None]:
    """Claim the approval, or the nonce of a write. This is the last step."""
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
