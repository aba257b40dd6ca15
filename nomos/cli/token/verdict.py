"""`nomos token verify`: the verdict of a service that somebody describes by options.

For an invocation these are the steps of `nomos.Verifier` without the last: nothing is used up, so
whether a token was used before is not known, and is said not to be. A chain is verified for its
holder, and a receipt for whoever trusts the one that signed it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from nomos._core import token_verification
from nomos._core.call import RequestedCall
from nomos._core.effects import Effect, Sign
from nomos._core.revocation_status import Seen
from nomos._core.token_verification import VerifierRules
from nomos._core.verification import LookupRevocations
from nomos._core.verification_receipt import ALLOW, FIX, hashes
from nomos._io.runtime import run_flow
from nomos._protocol import ReceiptVerified, Refused, Verified, VerifyReceipt
from nomos.cli.token.chain import proven
from nomos.cli.token.input import TokenInput
from nomos.cli.token.inspect import Ask, ask_binary
from nomos.errors import Denied, SignerError
from nomos.models import MAX_CHAIN_DEPTH

REPLAY: Final = "whether it was used before: only the service that keeps a record can say"


class RevocationView(Protocol):
    """Where it is looked up what was revoked, and what that is called."""

    @property
    def described(self) -> str: ...

    def among(self, ids: Collection[str]) -> Seen: ...


@dataclass(frozen=True)
class VerificationTerms:
    """What somebody says that the service is, and which call it is asked for."""

    issuers: tuple[str, ...]
    audience: str | None
    call: RequestedCall | None
    now: int
    view: RevocationView
    leeway: int = 0
    max_depth: int = MAX_CHAIN_DEPTH
    accept_unlinked: bool = False
    pdp: bool = False
    unused: tuple[str, ...] = ()
    """Options that were given, and that this kind of token has no use for."""

    @property
    def rules(self) -> VerifierRules:
        return VerifierRules(
            trusted_issuers=self.issuers,
            audience=self.audience or "",
            max_depth=self.max_depth,
            leeway=self.leeway,
            accept_unlinked=self.accept_unlinked,
            pdp=self.pdp,
        )


@dataclass(frozen=True)
class TokenVerdict:
    """Whether a token holds on some terms: `facts` say what it proves, `refusal` why it does not.

    Of a receipt, `facts` say whether it is `genuine` and whether it records that a call was
    `allowed`; only one that is both is good, and only if it is about the call that was named.
    `unchecked` is what nobody has looked at.
    """

    kind: str
    facts: Mapping[str, Any]
    refusal: Denied | None
    unchecked: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.refusal is None and self.facts.get("allowed") is not False

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"kind": self.kind, "verified": self.ok, **self.facts}
        if self.refusal is not None:
            told |= {"code": self.refusal.code, "message": sentence(self.refusal)}
            rest = {name: getattr(self.refusal, name) for name in ("hop", *COMPARED, "fix")}
            told |= {name: value for name, value in rest.items() if value is not None}
        return {**told, "not_checked": list(self.unchecked)}


COMPARED: Final = ("field", "wanted", "found")


def sentence(refusal: Denied) -> str:
    """What a refusal says, without its hop and its fix, which are told beside it."""
    text = str(refusal)
    if refusal.fix is not None:
        text = text.removesuffix(f": {refusal.fix}")
    return text if refusal.hop is None else text.removesuffix(f" (hop {refusal.hop})")


def verdict(given: TokenInput, terms: VerificationTerms, ask: Ask) -> TokenVerdict:
    """Judge one token. Raises `SignerError` when the binary gives no answer."""
    if given.kind == "receipt":
        return _receipt(given, terms, ask)
    judge = _invocation if given.kind == "invocation" else _chain
    unchecked = (*_replay(given), *_unchecked(given, terms))
    try:
        return TokenVerdict(given.kind, judge(given, terms, ask), None, unchecked)
    except Denied as denied:
        return TokenVerdict(given.kind, {}, _helped(denied, terms.call), unchecked)


_NO_ARGS: Final = "pass the call's arguments with --args: none were given"


def _helped(denied: Denied, call: RequestedCall | None) -> Denied:
    """The refusal; where it is for an argument that nobody typed, it says how to give one."""
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
        [] if terms.view.described else ["revocations: none were given, and no feed was asked"]
    )
    if given.kind == "chain":
        missing.append("its policies: they are about calls, and a chain is none yet")
    if terms.call is None:
        missing.append("whether it fits a call: no --command and --resource were given")
    return missing


def _invocation(given: TokenInput, terms: VerificationTerms, ask: Ask) -> dict[str, Any]:
    (token,) = given.tokens

    def perform(effect: Effect[Any]) -> object:
        match effect:
            case Sign(request):
                return ask(request)
            case LookupRevocations(ids):
                return terms.view.among(ids)
        raise TypeError(f"a flow asked for {effect!r}")

    proof = run_flow(
        token_verification.verify_claims(terms.rules, token, terms.call, terms.now), perform
    )
    found = token_verification.verified(proof.proven)
    return _proven(proof.proven) | {
        "resource": found.resource,
        "args": found.args,
        "receipt": found.receipt,
        "swarm": found.swarm,
        "cid": found.cid,
    }


def _chain(given: TokenInput, terms: VerificationTerms, ask: Ask) -> dict[str, Any]:
    answer = proven(given.tokens, terms, ask)
    return _proven(answer) | {"constraint": answer.constraint}


def _receipt(given: TokenInput, terms: VerificationTerms, ask: Ask) -> TokenVerdict:
    (token,) = given.tokens
    unchecked = tuple(f"{_OVER}{name} was not used" for name in terms.unused)
    answer = ask_binary(ask, VerifyReceipt, token=token, issuers=list(terms.issuers))
    if isinstance(answer, Refused):
        denied = Denied(answer.message, code=answer.code, field=answer.field, fix=FIX)
        return TokenVerdict("receipt", {"genuine": False, "allowed": False}, denied, unchecked)
    if not isinstance(answer, ReceiptVerified):
        raise SignerError("the signing binary gave another answer than was asked for")
    said = answer.receipt.model_dump()
    allowed = said["outcome"] == ALLOW
    facts = {"genuine": True, "allowed": allowed, "cid": answer.cid, "receipt": said}
    return TokenVerdict("receipt", facts, _unlike(said, terms), unchecked)


def _unlike(said: Mapping[str, Any], terms: VerificationTerms) -> Denied | None:
    """How a receipt is not about the service and the call that were named."""
    for name, (what, value) in _expected(terms).items():
        if said[name] != value:
            return Denied(
                f"the receipt is about {what}",
                code="audience_mismatch" if name == "service" else "resource_mismatch",
                field=name,
                wanted=value,
                found=said[name],
            )
    return None


_OVER: Final = "revocations: a receipt tells of a call that is over, so "


def _expected(terms: VerificationTerms) -> dict[str, tuple[str, str]]:
    """What a receipt has to say to be about the service and the call that were named."""
    call = terms.call
    wanted = {"service": ("another service", terms.audience)}
    if call is not None:
        resource, args = hashes(call)
        wanted["cmd"] = ("another command", call.command)
        wanted["resource_hash"] = ("another resource", resource or "what no token can be for")
        wanted["args_hash"] = ("other arguments", args)
    return {name: (what, value) for name, (what, value) in wanted.items() if value is not None}


def _proven(answer: Verified) -> dict[str, Any]:
    end = datetime.fromtimestamp(answer.expires_at, UTC)
    return {
        "agent": answer.agent,
        "root": answer.root,
        "command": answer.cmd,
        "depth": answer.depth,
        "chain": answer.cids,
        "lineage": answer.lineage,
        "expires_at": f"{end:%Y-%m-%dT%H:%M:%SZ}",
    }
