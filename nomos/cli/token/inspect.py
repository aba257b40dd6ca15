"""What is in tokens, link by link, and what is wrong with each: asked of the signing binary.

A verifier stops at the first thing that is wrong. To show all of it, the same questions are put
to the binary link by link: each link by itself, each beginning of the chain at a moment when all
of it is valid, and then the use that is made of it. Nobody is trusted here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Literal

from nomos._core.policy_messages import expected_value, message
from nomos._core.tokens import decode_unverified
from nomos._limits import MAX_LINKS
from nomos._protocol import (
    Answer,
    Inspect,
    Inspected,
    ReceiptVerified,
    Refused,
    Request,
    Verified,
    Verify,
    VerifyReceipt,
)
from nomos.cli.token.input import TokenInput
from nomos.errors import SignerError, Unintelligible

Ask = Callable[[Request], Answer | Refused]
Signature = Literal["good", "bad", "unknown"]

_SIGNATURES: Final[Mapping[str, Signature]] = {
    "malformed_ucan": "bad",
    "bad_signature": "bad",
    "chain_too_deep": "unknown",
}
"""Refusals that come before links are compared, at a moment when every token is valid, and what
each says of the signature. Of all others it is good."""


@dataclass(frozen=True)
class TokenFinding:
    """One thing that is wrong, in the words of the binary."""

    code: str
    message: str
    field: str | None = None
    wanted: str | None = None
    found: str | None = None

    def as_json(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Hop:
    """One token of a chain: what it says, if it can be read, and what is wrong with it.

    `checked` is False where nothing is known about how it follows from the ones before.
    """

    number: int
    kind: Literal["delegation", "invocation"]
    cid: str
    claims: Mapping[str, Any] | None
    findings: tuple[TokenFinding, ...] = ()
    signature: Signature = "unknown"
    checked: bool = False

    def but(self, *found: TokenFinding, **changes: Any) -> Hop:
        return replace(self, findings=(*self.findings, *found), **changes)

    @property
    def start(self) -> int:
        """When it begins, in Unix seconds; only asked of one that can be read."""
        claims = self.claims or {}
        return int(claims["nbf" if self.kind == "delegation" else "iat"])

    @property
    def end(self) -> int:
        return int((self.claims or {})["exp"])


@dataclass(frozen=True)
class ChainReport:
    """A chain, or an invocation with its chain: every token, and whether all of it holds."""

    kind: Literal["chain", "invocation"]
    hops: tuple[Hop, ...]
    now: int

    @property
    def holds(self) -> bool:
        """Whether it would verify for somebody who trusts the root, as far as one can tell."""
        return all(
            hop.checked and hop.signature == "good" and not hop.findings for hop in self.hops
        )


@dataclass(frozen=True)
class ReceiptReport:
    """A receipt of verification: what it says, and what is wrong with its text or signature."""

    cid: str
    claims: Mapping[str, Any] | None
    finding: TokenFinding | None
    now: int


def inspect_chain(given: TokenInput, ask: Ask, now: int) -> ChainReport:
    """Look at a chain or an invocation."""
    if given.kind == "chain":
        links, use = given.tokens, None
    else:
        (use,) = given.tokens
        links = _links_of(use)
    hops = [_read(ask, link, number) for number, link in enumerate(links[:MAX_LINKS])]
    hops = [_signed(ask, hop, link) for hop, link in zip(hops, links, strict=False)]
    hops = _linked(ask, hops, links)
    if use is not None:
        hops = _used(ask, use, hops)
    return ChainReport(
        "chain" if use is None else "invocation", tuple(_timed(hop, now) for hop in hops), now
    )


def inspect_receipt(given: TokenInput, ask: Ask, now: int) -> ReceiptReport:
    """Look at a receipt, as if whoever says to have signed it were trusted."""
    (token,) = given.tokens
    claims = _peeked(token)
    issuer = (claims or {}).get("iss")
    issuers = [issuer] if isinstance(issuer, str) and issuer.isascii() else []
    answer = ask_binary(ask, VerifyReceipt, token=token, issuers=issuers)
    if isinstance(answer, ReceiptVerified):
        return ReceiptReport(answer.cid, answer.receipt.model_dump(exclude_none=True), None, now)
    return ReceiptReport(cid(token), None, _finding(_refusal(answer)), now)


def ask_binary(ask: Ask, request: type[Request], **members: Any) -> Answer | Refused:
    """Ask the binary; a request that cannot even be written is refused as it would be."""
    try:
        return ask(request(**members))
    except ValueError:
        # Half of a surrogate pair, or a name that is no DID.
        return Refused(code="malformed_ucan", message="there is something in it that no token has")
    except SignerError as error:
        if error.code != "too_large":
            raise
        return Refused(code="malformed_ucan", message="this is longer than any token may be")


def cid(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _links_of(invocation: str) -> tuple[str, ...]:
    prf = (_peeked(invocation) or {}).get("prf")
    return tuple(each for each in prf if isinstance(each, str)) if isinstance(prf, list) else ()


def _peeked(token: str) -> dict[str, Any] | None:
    try:
        return decode_unverified(token)
    except Unintelligible:
        return None


def _read(ask: Ask, link: str, number: int) -> Hop:
    """Read one delegation's text."""
    hop = Hop(number, "delegation", cid(link), None)
    answer = ask_binary(ask, Inspect, token=link)
    if isinstance(answer, Inspected) and answer.kind == "delegation":
        return hop.but(claims=answer.payload)
    if isinstance(answer, Inspected):
        return hop.but(TokenFinding("malformed_ucan", "this is not a delegation"))
    return hop.but(_finding(_refusal(answer)))


def _signed(ask: Ask, hop: Hop, link: str) -> Hop:
    """Check one delegation by itself, at its first moment: its keys and its signature."""
    if hop.claims is None:
        return hop
    answer = ask_binary(ask, Verify, chain=[link], now=hop.start, max_depth=MAX_LINKS)
    if isinstance(answer, Verified):
        return hop.but(signature="good", checked=hop.number == 0)
    refused = _refusal(answer)
    if refused.code not in _SIGNATURES:
        # By itself it is taken for a root, and `sub` need not name its issuer.
        wrong = [_finding(refused)] if hop.number == 0 else []
        return hop.but(*wrong, signature="good", checked=hop.number == 0)
    return hop.but(_finding(refused), signature=_SIGNATURES[refused.code])


def _linked(ask: Ask, hops: Sequence[Hop], links: Sequence[str]) -> list[Hop]:
    """Check how each delegation follows from the ones before."""
    found = list(hops[:1])
    for hop in hops[1:]:
        before = [*found, hop]
        moment = _moment(before)
        if any(each.findings for each in before) or moment is None:
            found.append(hop)
            continue
        chain = list(links[: hop.number + 1])
        answer = ask_binary(ask, Verify, chain=chain, now=moment, max_depth=MAX_LINKS)
        found = _outcome(found, hop, answer)
    return found


def _used(ask: Ask, token: str, links: Sequence[Hop]) -> list[Hop]:
    """Read an invocation, and check it against its chain and for whom it says it is."""
    hop = Hop(len(links), "invocation", cid(token), None)
    answer = ask_binary(ask, Inspect, token=token)
    if isinstance(answer, Refused) and answer.hop is None:
        return [*links, hop.but(_finding(answer))]
    claims = _peeked(token) or {}
    hop = hop.but(claims=claims)
    moment = _moment([*links, hop])
    if any(link.findings for link in links) or moment is None or not links:
        return [*links, hop]
    root = str((links[0].claims or {}).get("iss"))
    answer = ask_binary(
        ask,
        Verify,
        invocation=token,
        now=moment,
        max_depth=MAX_LINKS,
        trusted_issuers=[root],
        audience=claims["aud"],
        # Whether its service is a PDP, the token does not say.
        pdp=True,
    )
    return _outcome(links, hop, answer)


def _outcome(before: Sequence[Hop], hop: Hop, answer: Answer | Refused) -> list[Hop]:
    """What the last of some tokens is worth, the others being in order.

    A policy is broken by the call, and stands in the link that made it: that is the one to look
    at, and the one that a verifier names.
    """
    if isinstance(answer, Verified):
        return [*before, hop.but(signature="good", checked=True)]
    refused = _refusal(answer)
    finding, signature = _finding(refused), _SIGNATURES.get(refused.code, "good")
    if refused.hop is None or refused.hop >= len(before):
        return [*before, hop.but(finding, signature=signature, checked=True)]
    finding = replace(finding, message=f"{finding.message} (found with hop {hop.number})")
    found = [each.but(finding) if each.number == refused.hop else each for each in before]
    return [*found, hop.but(signature=signature)]


def _timed(hop: Hop, now: int) -> Hop:
    """Say whether a token is valid now, by the rule of the binary: start <= now < end."""
    if hop.claims is None:
        return hop
    if hop.start > now:
        return hop.but(TokenFinding("not_yet_valid", "it is not valid yet"))
    if hop.end <= now:
        return hop.but(TokenFinding("expired", "it has expired"))
    return hop


def _moment(hops: Sequence[Hop]) -> int | None:
    """A moment at which all of them are valid, if there is one."""
    if any(hop.claims is None for hop in hops):
        return None
    latest = max(hop.start for hop in hops)
    return latest if all(latest < hop.end for hop in hops) else None


def _refusal(answer: Answer | Refused) -> Refused:
    if not isinstance(answer, Refused):
        raise SignerError("the signing binary gave another answer than was asked for")
    return answer


def _finding(refused: Refused) -> TokenFinding:
    if refused.code in ("internal", "protocol", "unknown_op"):
        raise SignerError(refused.message, code=refused.code)
    return TokenFinding(
        refused.code, message(refused), refused.field, expected_value(refused), refused.found
    )
