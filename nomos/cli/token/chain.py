"""What a chain proves to its holder: it hands authority on, and is no call yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nomos._core import unverified
from nomos._core.call import canonical_call
from nomos._core.denials import denied_from
from nomos._core.remedies import remedy
from nomos._core.unverified import UnverifiedToken
from nomos._protocol import Refused, Verified, Verify, Wanted
from nomos.cli.token.inspect import Ask, ask_binary
from nomos.errors import Denied, SignerError

if TYPE_CHECKING:
    from nomos.cli.token.verdict import VerificationTerms


def proven(tokens: Sequence[str], terms: VerificationTerms, ask: Ask) -> Verified:
    """What a chain proves; raises `Denied`, or `SignerError` when the binary gives no answer."""
    chain = list(tokens)
    names = _named(chain)
    seen = terms.view.among(names)
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
        revoked=sorted(names & seen.ids),
        revocations_age=seen.age,
        accept_unlinked=rules.accept_unlinked,
        wanted=None if call is None else Wanted(cmd=call.cmd, resource=call.resource),
    )
    if isinstance(answer, Refused):
        raise _denied(answer, chain)
    if not isinstance(answer, Verified):
        raise SignerError("the signing binary gave another answer than was asked for")
    if names & seen.ids:
        raise Denied(
            "something that it depends on was revoked", code="revoked", fix=remedy("revoked")
        )
    if wrong is not None:
        raise wrong
    return answer


def claims_of(chain: Sequence[str]) -> UnverifiedToken | None:
    """What a chain says, its last link as that of the token; None if it cannot be read."""
    found = unverified.read_chain(chain)
    if found is None:
        return None
    *before, last = found.chain
    return UnverifiedToken(chain=tuple(before), cid=last.cid, payload=last.payload)


def _named(chain: Sequence[str]) -> frozenset[str]:
    """What must not be revoked for a chain to be honoured, as far as it can be read."""
    claims = unverified.read_chain(chain)
    return frozenset() if claims is None else claims.ids()


def _denied(answer: Refused, chain: Sequence[str]) -> Denied | SignerError:
    if remedy(answer.code) is None:
        return SignerError(answer.message, code=answer.code, hop=answer.hop)
    claims = claims_of(chain)
    links = () if claims is None else (*claims.links, claims.payload)
    other = answer.code == "audience_mismatch"
    return denied_from(answer, links, used=False, message=_OTHER if other else "")


_OTHER = "this is a chain, which hands authority on and is no call: its holder is another"
