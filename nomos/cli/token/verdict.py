"""`nomos token verify`: the verdict of a service that the options describe.

An invocation goes through the steps of `nomos.Verifier` except the last: its nonce is not claimed,
so whether it was used before is reported as unknown. A chain is verified for its holder, and a
receipt for a reader that trusts its issuer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomos._core import token_verification
from nomos._core.call import RequestedCall
from nomos._core.effects import Effect, Sign
from nomos._core.revocation_status import RevocationStatus
from nomos._core.token_verification import VerifierRules
from nomos._core.verification import LookupRevocations
from nomos._core.verification_receipt import ALLOW, FIX, hashes
from nomos._io.control_plane_sync import ControlPlaneSync
from nomos._io.runtime import run_flow
from nomos._protocol import ReceiptVerified, Refused, Verified, VerifyReceipt
from nomos._times import iso_seconds
from nomos.cli.token.chain import proven
from nomos.cli.token.input import TokenInput
from nomos.cli.token.inspect import Ask, ask_binary
from nomos.errors import Denied, SignerError

REPLAY: Final = "whether it was used before: only the service knows"


@dataclass(frozen=True)
class GivenRevocations:
    """The ids of --revoked and those of the feed at `url`; `described` names both, or is empty."""

    ids: frozenset[str]
    url: str = ""
    follower: ControlPlaneSync | None = None

    @property
    def described(self) -> str:
        feed = [f"the feed of {self.url}"] if self.follower is not None else []
        named = [f"{len(self.ids)} revoked given by --revoked"] if self.ids else []
        return ", and ".join(feed + named)

    def lookup(self, ids: Collection[str]) -> RevocationStatus:
        named = self.ids.intersection(ids)
        if self.follower is None:
            return RevocationStatus(named)
        seen = self.follower.lookup(ids)
        return RevocationStatus(seen.revoked | named, seen.age_seconds, seen.error)


@dataclass(frozen=True)
class VerificationTerms:
    """The service that a token is verified for, and the call that is requested."""

    rules: VerifierRules
    call: RequestedCall | None
    now: int
    view: GivenRevocations
    unused: tuple[str, ...] = ()
    """Options that were given but do not apply to this kind of token."""


@dataclass(frozen=True)
class TokenVerdict:
    """The result of a verification: `facts` if the token is accepted, `refusal` if it is not.

    For a receipt, `facts` has `genuine` and `allowed` (the recorded call was allowed). A receipt
    is verified if both are true and it is about the given call. `unchecked` lists what was not
    checked.
    """

    kind: str
    facts: Mapping[str, Any]
    refusal: Denied | None
    unchecked: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.refusal is None and self.facts.get("allowed") is not False

    def as_json(self) -> dict[str, Any]:
        result: dict[str, Any] = {"kind": self.kind, "verified": self.ok, **self.facts}
        if self.refusal is not None:
            result |= {"code": self.refusal.code, "message": sentence(self.refusal)}
            rest = {
                name: getattr(self.refusal, name)
                for name in ("hop", "field", "wanted", "found", "fix")
            }
            result |= {name: value for name, value in rest.items() if value is not None}
        return {**result, "not_checked": list(self.unchecked)}


def sentence(refusal: Denied) -> str:
    """Return a refusal's message without its hop and its fix, which are printed separately."""
    text = str(refusal)
    if refusal.fix is not None:
        text = text.removesuffix(f": {refusal.fix}")
    return text if refusal.hop is None else text.removesuffix(f" (hop {refusal.hop})")


def verdict(given: TokenInput, terms: VerificationTerms, ask: Ask) -> TokenVerdict:
    """Verify one token. Raises `SignerError` if the binary fails."""
    if given.kind == "receipt":
        return _receipt(given, terms, ask)
    judge = _invocation if given.kind == "invocation" else _chain
    unchecked = (*_replay(given), *_unchecked(given, terms))
    try:
        return TokenVerdict(given.kind, judge(given, terms, ask), None, unchecked)
    except Denied as denied:
        return TokenVerdict(given.kind, {}, _with_args_fix(denied, terms.call), unchecked)


_NO_ARGS: Final = "pass the arguments of the call with --args"


def _with_args_fix(denied: Denied, call: RequestedCall | None) -> Denied:
    """Return the refusal; if it is about a missing argument, its fix names --args."""
    field = denied.field or ""
    argument = field.startswith("args.") and field != "args.resource"
    if call is None or call.args or denied.code != "resource_mismatch" or not argument:
        return denied
    return Denied(
        sentence(denied),
        code=denied.code,
        hop=denied.hop,
        field=field,
        wanted=denied.wanted,
        found=denied.found,
        fix=_NO_ARGS,
    )


def _replay(given: TokenInput) -> tuple[str, ...]:
    return (REPLAY,) if given.kind == "invocation" else ()


def _unchecked(given: TokenInput, terms: VerificationTerms) -> list[str]:
    missing = (
        []
        if terms.view.described
        else ["revocations: pass --revoked or --control-url to check them"]
    )
    if given.kind == "chain":
        missing.append("its policies: they apply to calls, and a chain is not a call")
    if terms.call is None:
        missing.append("a call: pass --command and --resource to check one")
    return missing


def _invocation(given: TokenInput, terms: VerificationTerms, ask: Ask) -> dict[str, Any]:
    (token,) = given.tokens

    def perform(effect: Effect[Any]) -> object:
        match effect:
            case Sign(request):
                return ask(request)
            case LookupRevocations(ids):
                return terms.view.lookup(ids)
        raise TypeError(f"a flow asked for {effect!r}")

    proof = run_flow(
        token_verification.verify_claims(terms.rules, token, terms.call, terms.now), perform
    )
    found = token_verification.verified(proof.proven)
    return _proven(proof.proven) | {
        "resource": found.resource,
        "args": found.args,
        "receipt": found.receipt_id,
        "swarm": found.swarm,
        "cid": found.cid,
    }


def _chain(given: TokenInput, terms: VerificationTerms, ask: Ask) -> dict[str, Any]:
    answer = proven(given.tokens, terms, ask)
    return _proven(answer) | {"constraint": answer.constraint}


def _receipt(given: TokenInput, terms: VerificationTerms, ask: Ask) -> TokenVerdict:
    (token,) = given.tokens
    unchecked = tuple(f"{_PAST_CALL}{name} was not used" for name in terms.unused)
    answer = ask_binary(ask, VerifyReceipt, token=token, issuers=list(terms.rules.trusted_issuers))
    if isinstance(answer, Refused):
        denied = Denied(answer.message, code=answer.code, field=answer.field, fix=FIX)
        return TokenVerdict("receipt", {"genuine": False, "allowed": False}, denied, unchecked)
    if not isinstance(answer, ReceiptVerified):
        raise SignerError("unexpected response type from the signing binary")
    claims = answer.receipt.model_dump()
    allowed = claims["outcome"] == ALLOW
    facts = {"genuine": True, "allowed": allowed, "cid": answer.cid, "receipt": claims}
    return TokenVerdict("receipt", facts, _mismatch(claims, terms), unchecked)


def _mismatch(claims: Mapping[str, Any], terms: VerificationTerms) -> Denied | None:
    """Return a refusal if a receipt is not about the given service and call."""
    for name, (what, value) in _expected(terms).items():
        if claims[name] != value:
            return Denied(
                f"the receipt is about {what}",
                code="audience_mismatch" if name == "service" else "resource_mismatch",
                field=name,
                wanted=value,
                found=claims[name],
            )
    return None


_PAST_CALL: Final = "revocations: a receipt is about a past call, so "


def _expected(terms: VerificationTerms) -> dict[str, tuple[str, str]]:
    """Return the values that a receipt about the given service and call has, by claim."""
    call = terms.call
    wanted = {"service": ("another service", terms.rules.audience or None)}
    if call is not None:
        resource, args = hashes(call)
        wanted["cmd"] = ("another command", call.command)
        wanted["resource_hash"] = (
            "another resource",
            resource or "none: no token can be for this resource",
        )
        wanted["args_hash"] = ("other arguments", args)
    return {name: (what, value) for name, (what, value) in wanted.items() if value is not None}


def _proven(answer: Verified) -> dict[str, Any]:
    return {
        "agent": answer.agent,
        "root": answer.root,
        "command": answer.cmd,
        "depth": answer.depth,
        "chain": answer.cids,
        "lineage": answer.lineage,
        "expires_at": iso_seconds(answer.expires_at),
    }
