"""Inspects tokens link by link with the signing binary, and finds every problem.

A verifier stops at the first problem. To find all, the binary verifies each link alone, then each
prefix of the chain at a time at which all of its links are valid, and then the invocation. No
issuer is trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from nomos._core.policy_messages import expected_value, message
from nomos._core.tokens import decode_unverified
from nomos._identifiers import cid_of
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
from nomos.errors import InvalidResponse, SignerError

Ask = Callable[[Request], Answer | Refused]
Signature = Literal["good", "bad", "unknown"]

_SIGNATURES: Final[Mapping[str, Signature]] = {
    "malformed_ucan": "bad",
    "bad_signature": "bad",
    "chain_too_deep": "unknown",
}
"""Refusals that occur before links are compared, at a time at which every token is valid, and
what each means for the signature. With any other refusal, the signature is good."""


@dataclass(frozen=True)
class TokenFinding:
    """One problem, as reported by the binary."""

    code: str
    message: str
    field: str | None = None
    wanted: str | None = None
    found: str | None = None

    def as_json(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Hop:
    """One token of a chain with its problems; `checked`: compared with the links before it."""

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
        """Start of validity in Unix seconds. Raises KeyError if the token cannot be read."""
        claims = self.claims or {}
        return int(claims["nbf" if self.kind == "delegation" else "iat"])

    @property
    def end(self) -> int:
        return int((self.claims or {})["exp"])


@dataclass(frozen=True)
class ChainReport:
    """A chain, or an invocation with its chain: every token and its problems."""

    kind: Literal["chain", "invocation"]
    hops: tuple[Hop, ...]
    now: int

    @property
    def holds(self) -> bool:
        """Whether it would verify for a verifier that trusts the root issuer."""
        return all(
            hop.checked and hop.signature == "good" and not hop.findings for hop in self.hops
        )


@dataclass(frozen=True)
class ReceiptReport:
    """A receipt of verification: its claims, or what is wrong with its text or signature."""

    cid: str
    claims: Mapping[str, Any] | None
    finding: TokenFinding | None
    now: int


def inspect_chain(given: TokenInput, ask: Ask, now: int) -> ChainReport:
    """Inspect a chain or an invocation."""
    if given.kind == "chain":
        links, use = given.tokens, None
    else:
        (use,) = given.tokens
        links = _links_of(use)
    hops = [_parsed(ask, link, number) for number, link in enumerate(links[:MAX_LINKS])]
    hops = [_check_signature(ask, hop, link) for hop, link in zip(hops, links, strict=False)]
    hops = _check_links(ask, hops, links)
    if use is not None:
        hops = _check_invocation(ask, use, hops)
    return ChainReport(
        "chain" if use is None else "invocation", tuple(_check_time(hop, now) for hop in hops), now
    )


def inspect_receipt(given: TokenInput, ask: Ask, now: int) -> ReceiptReport:
    """Inspect a receipt, with the issuer that it names as trusted."""
    (token,) = given.tokens
    claims = _decoded(token)
    issuer = (claims or {}).get("iss")
    issuers = [issuer] if isinstance(issuer, str) and issuer.isascii() else []
    answer = ask_binary(ask, VerifyReceipt, token=token, issuers=issuers)
    if isinstance(answer, ReceiptVerified):
        return ReceiptReport(answer.cid, answer.receipt.model_dump(exclude_none=True), None, now)
    return ReceiptReport(cid_of(token), None, _finding(_refusal(answer)), now)


def ask_binary(ask: Ask, request: type[Request], **members: Any) -> Answer | Refused:
    """Send a request to the binary. Input that cannot be sent is refused as malformed."""
    try:
        return ask(request(**members))
    except ValueError:
        # Half of a surrogate pair, or text where a DID belongs.
        return Refused(
            code="malformed_ucan", message="the token contains characters that no token may contain"
        )
    except SignerError as error:
        if error.code != "too_large":
            raise
        return Refused(code="malformed_ucan", message="the token is longer than the limit")


def _links_of(invocation: str) -> tuple[str, ...]:
    prf = (_decoded(invocation) or {}).get("prf")
    return tuple(each for each in prf if isinstance(each, str)) if isinstance(prf, list) else ()


def _decoded(token: str) -> dict[str, Any] | None:
    try:
        return decode_unverified(token)
    except InvalidResponse:
        return None


def _parsed(ask: Ask, link: str, number: int) -> Hop:
    """Parse one delegation."""
    hop = Hop(number, "delegation", cid_of(link), None)
    answer = ask_binary(ask, Inspect, token=link)
    if isinstance(answer, Inspected) and answer.kind == "delegation":
        return hop.but(claims=answer.payload)
    if isinstance(answer, Inspected):
        return hop.but(TokenFinding("malformed_ucan", "this is not a delegation"))
    return hop.but(_finding(_refusal(answer)))


def _check_signature(ask: Ask, hop: Hop, link: str) -> Hop:
    """Check one delegation alone, at the start of its validity: its keys and its signature."""
    if hop.claims is None:
        return hop
    answer = ask_binary(ask, Verify, chain=[link], now=hop.start, max_depth=MAX_LINKS)
    if isinstance(answer, Verified):
        return hop.but(signature="good", checked=hop.number == 0)
    refused = _refusal(answer)
    if refused.code not in _SIGNATURES:
        # A link verified alone is taken as a root, but its `sub` need not be its issuer.
        wrong = [_finding(refused)] if hop.number == 0 else []
        return hop.but(*wrong, signature="good", checked=hop.number == 0)
    return hop.but(_finding(refused), signature=_SIGNATURES[refused.code])


def _check_links(ask: Ask, hops: Sequence[Hop], links: Sequence[str]) -> list[Hop]:
    """Check each delegation against the ones before it."""
    found = list(hops[:1])
    for hop in hops[1:]:
        before = [*found, hop]
        moment = _common_time(before)
        if any(each.findings for each in before) or moment is None:
            found.append(hop)
            continue
        chain = list(links[: hop.number + 1])
        answer = ask_binary(ask, Verify, chain=chain, now=moment, max_depth=MAX_LINKS)
        found = _outcome(found, hop, answer)
    return found


def _check_invocation(ask: Ask, token: str, links: Sequence[Hop]) -> list[Hop]:
    """Parse an invocation, and check it against its chain and the audience that it names."""
    hop = Hop(len(links), "invocation", cid_of(token), None)
    answer = ask_binary(ask, Inspect, token=token)
    if isinstance(answer, Refused) and answer.hop is None:
        return [*links, hop.but(_finding(answer))]
    claims = _decoded(token) or {}
    hop = hop.but(claims=claims)
    moment = _common_time([*links, hop])
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
        # The token does not say whether its audience is a PDP.
        pdp=True,
    )
    return _outcome(links, hop, answer)


def _outcome(before: Sequence[Hop], hop: Hop, answer: Answer | Refused) -> list[Hop]:
    """Add the last token with its problem, when the tokens before it are valid.

    A policy that the call violates is reported for the link that contains the policy, as a
    verifier does.
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


def _check_time(hop: Hop, now: int) -> Hop:
    """Add a problem if a token is not valid now, by the binary's rule: start <= now < end."""
    if hop.claims is None:
        return hop
    if hop.start > now:
        return hop.but(TokenFinding("not_yet_valid", "the token is not valid yet"))
    if hop.end <= now:
        return hop.but(TokenFinding("expired", "the token has expired"))
    return hop


def _common_time(hops: Sequence[Hop]) -> int | None:
    """Return a time at which all of them are valid, or None."""
    if any(hop.claims is None for hop in hops):
        return None
    latest = max(hop.start for hop in hops)
    return latest if all(latest < hop.end for hop in hops) else None


def _refusal(answer: Answer | Refused) -> Refused:
    if not isinstance(answer, Refused):
        raise SignerError("unexpected response type from the signing binary")
    return answer


def _finding(refused: Refused) -> TokenFinding:
    if refused.code in ("internal", "protocol", "unknown_op"):
        raise SignerError(refused.message, code=refused.code)
    return TokenFinding(
        refused.code, message(refused), refused.field, expected_value(refused), refused.found
    )
