"""Verifies a chain for its holder. A chain delegates authority; it is not a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nomos._core import unverified
from nomos._core.call import canonical_call
from nomos._core.denials import denied_from
from nomos._core.remedies import remedy
from nomos._core.unverified import UnverifiedToken
from nomos._protocol import Refused, RequestedCapability, Verified, Verify
from nomos.cli.token.inspect import Ask, ask_binary
from nomos.errors import Denied, SignerError

if TYPE_CHECKING:
    from nomos.cli.token.verdict import VerificationTerms


def proven(tokens: Sequence[str], terms: VerificationTerms, ask: Ask) -> Verified:
    """Return what a chain proves. Raises `Denied`, or `SignerError` if the binary fails."""
    chain = list(tokens)
    names = _revocation_ids(chain)
    seen = terms.view.lookup(names)
    rules = terms.rules
    call, wrong = (None, None) if terms.call is None else canonical_call(terms.call)
    answer = ask_binary(
        ask,
        Verify,
        chain=chain,
        now=terms.now,
        leeway=rules.leeway,
        max_depth=rules.max_depth,
        trusted_issuers=list(rules.trusted_issuers),
        audience=rules.audience,
        revoked=sorted(names & seen.revoked),
        revocations_age=seen.age_seconds,
        allow_missing_prf=rules.allow_missing_prf,
        requested=None
        if call is None
        else RequestedCapability(cmd=call.cmd, resource=call.resource),
    )
    if isinstance(answer, Refused):
        raise _denied(answer, chain)
    if not isinstance(answer, Verified):
        raise SignerError("unexpected response type from the signing binary")
    if names & seen.revoked:
        raise Denied(
            "the token, or an issuer, agent or delegation that it depends on, was revoked",
            code="revoked",
            fix=remedy("revoked"),
        )
    if wrong is not None:
        raise wrong
    return answer


def claims_of(chain: Sequence[str]) -> UnverifiedToken | None:
    """Return a chain's claims, with its last link as the token; None if it cannot be read."""
    found = unverified.read_chain(chain)
    if found is None:
        return None
    *before, last = found.chain
    return UnverifiedToken(chain=tuple(before), cid=last.cid, payload=last.payload)


def _revocation_ids(chain: Sequence[str]) -> frozenset[str]:
    """Return the ids whose revocation makes a chain invalid; empty if it cannot be read."""
    claims = unverified.read_chain(chain)
    return frozenset() if claims is None else claims.ids()


def _denied(answer: Refused, chain: Sequence[str]) -> Denied | SignerError:
    if remedy(answer.code) is None:
        return SignerError(answer.message, code=answer.code, hop=answer.hop)
    claims = claims_of(chain)
    links = () if claims is None else (*claims.links, claims.payload)
    other = answer.code == "audience_mismatch"
    return denied_from(answer, links, used=False, message=_OTHER if other else "")


_OTHER = "the chain is held by another DID than --audience"
