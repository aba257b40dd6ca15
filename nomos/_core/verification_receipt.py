"""Signed receipts of a verifier's decisions, which can be checked later.

A receipt names the agent, its authority and the call by hashes and cids. It contains no token and
no secret. It is checked offline with the verifier's DID.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, ClassVar, Final

from nomos._core import unverified
from nomos._core.call import RequestedCall, canonical_call
from nomos._core.effects import Effect, Flow, Sign, perform
from nomos._core.token_verification import VerifierRules
from nomos._core.verification import SIGNED
from nomos._limits import MAX_LINKS, MAX_TOKEN
from nomos._protocol import (
    Answer,
    LoadKey,
    LoadKeyAnswer,
    Receipt,
    ReceiptVerified,
    Refused,
    Signed,
    SignReceipt,
    VerifyReceipt,
)
from nomos._sealed import SealedRecord, changed, make
from nomos.audit.canonical import canonical
from nomos.errors import Denied, SignerError
from nomos.models import Secret, Verified

ALLOW: Final = "allow"

FIX: Final = "pass the whole receipt, and the DID of the verifier that signed it, if you trust it"
"""The remedy for a receipt that does not verify."""

_SIGNED: Final[frozenset[str]] = SIGNED | {
    *("untrusted_issuer", "approval_not_found", "approval_mismatch"),
    *("approval_already_used", "replayed", "unavailable"),
}
"""Refusals that come after the signatures were verified, so that the signers are known."""


class VerificationReceipt(SealedRecord):
    """The content of a verification receipt, all of it signed by `issuer`.

    `outcome` is `allow` or the code of a refusal, with the `hop` at fault; `at` is the time by the
    verifier's clock. `service` is the verifier's audience, `command` the call's command. `agent` is
    the DID that signed the invocation, `root` the DID that signed the root of the chain; `chain`
    and `invocation` are cids. `resource_hash` and `args_hash` are the sha256 of the canonical JSON
    (RFC 8785) of the call; `is_about` compares them with a call. Unknown values are None. `cid` is
    the receipt's own.
    """

    _source: ClassVar = "verify_receipt"
    _stored: ClassVar = "store the text that it was read from"

    issuer: str
    service: str
    command: str
    resource_hash: str | None
    args_hash: str | None
    outcome: str
    hop: int | None
    agent: str | None
    root: str | None
    chain: tuple[str, ...]
    invocation: str | None
    at: datetime
    cid: str

    @property
    def allowed(self) -> bool:
        """Whether the verifier allowed the call."""
        return self.outcome == ALLOW

    def is_about(
        self, *, command: str, resource: Mapping[str, Any], args: Mapping[str, Any] | None = None
    ) -> bool:
        """Return whether the receipt is about exactly this `command`, `resource` and `args`."""
        found = hashes(RequestedCall(command, resource, {} if args is None else args))
        return found[0] is not None and (self.command, self.resource_hash, self.args_hash) == (
            command,
            *found,
        )


@dataclass(frozen=True)
class ReportReceipt(Effect[None]):
    """Pass a receipt to the verifier's `on_receipt`."""

    text: str = field(repr=False)


class ReceiptSigner:
    """The key that signs receipts; its DID is known once it is loaded."""

    def __init__(self, seed: Secret) -> None:
        self._seed = seed
        self._key: str | None = None

    def sign(self, receipt: Callable[[str], Receipt]) -> Flow[str]:
        """Return the text of a receipt; raise `SignerError` if it cannot be signed."""
        key = self._key or (yield from self._load())
        answer = yield from perform(Sign(SignReceipt(key=key, payload=receipt(key))))
        if isinstance(answer, Refused) and answer.code == "unknown_key":
            # Another user of the same key in this process has removed it.
            key = yield from self._load()
            answer = yield from perform(Sign(SignReceipt(key=key, payload=receipt(key))))
        if not isinstance(answer, Signed):
            raise SignerError("the receipt of a verification could not be signed")
        return answer.jwt

    def _load(self) -> Flow[str]:
        answer = yield from perform(Sign(LoadKey(seed=self._seed.reveal())))
        if not isinstance(answer, LoadKeyAnswer):
            raise SignerError("the signing binary did not load the receipt key")
        self._key = answer.key
        return answer.key


@dataclass(frozen=True)
class VerificationAttempt:
    """What was verified, by which rules and when."""

    rules: VerifierRules
    token: object = field(repr=False)
    asked: RequestedCall
    now: int


def with_receipt(
    flow: Flow[Verified], scribe: ReceiptSigner, case: VerificationAttempt
) -> Flow[Verified]:
    """Run `flow` and sign a receipt of its result, allow or refusal.

    Without its receipt nothing is allowed. A refusal stays a refusal, even if its receipt cannot be
    signed.
    """
    try:
        verified = yield from flow
    except Denied as denied:
        yield from _refused(denied, scribe, case)
        raise
    text = yield from scribe.sign(lambda key: _allow(key, verified, case))
    yield from perform(ReportReceipt(text))
    return changed(verified, receipt_jwt=text)


def _refused(denied: Denied, scribe: ReceiptSigner, case: VerificationAttempt) -> Flow[None]:
    try:
        denied.receipt_jwt = yield from scribe.sign(lambda key: _refusal(key, denied, case))
        yield from perform(ReportReceipt(denied.receipt_jwt))
    except Exception as error:
        raise denied from error


def parse_receipt(answer: Answer | Refused) -> VerificationReceipt:
    """Return the content of a receipt from the signing binary's answer; raise `Denied`."""
    if isinstance(answer, Refused):
        raise Denied(answer.message, code=answer.code, field=answer.field, fix=FIX)
    if not isinstance(answer, ReceiptVerified):
        raise SignerError("unexpected response type from the signing binary")
    said = answer.receipt
    return make(
        VerificationReceipt,
        issuer=said.iss,
        service=said.service,
        command=said.cmd,
        resource_hash=said.resource_hash,
        args_hash=said.args_hash,
        outcome=said.outcome,
        hop=said.hop,
        agent=said.agent,
        root=said.root,
        chain=tuple(said.chain or ()),
        invocation=said.invocation,
        at=datetime.fromtimestamp(said.iat, UTC),
        cid=answer.cid,
    )


def question_of(text: object, issuers: list[str]) -> VerifyReceipt:
    """Return the request that verifies a receipt; raise `Denied` for a text that cannot be one."""
    if not isinstance(text, str) or not text.isascii():
        raise Denied("a receipt must be a text of ASCII characters", code="malformed_ucan", fix=FIX)
    if len(text) > MAX_TOKEN:
        raise Denied(
            f"the receipt is longer than {MAX_TOKEN} characters", code="malformed_ucan", fix=FIX
        )
    return VerifyReceipt(token=text, issuers=issuers)


def hashes(asked: RequestedCall) -> tuple[str | None, str | None]:
    """Return the hashes of resource and args (None: no args); both None for an unsignable call."""
    call, _ = canonical_call(asked)
    if call is None:
        return None, None
    try:
        plain: dict[str, Any] = json.loads(call.model_dump_json())
        resource, args = (canonical(plain[name]) for name in ("resource", "args"))
    except (ValueError, RecursionError):
        return None, None
    return sha256(resource).hexdigest(), sha256(args).hexdigest() if plain["args"] else None


def _allow(key: str, verified: Verified, case: VerificationAttempt) -> Receipt:
    return _receipt(
        key,
        case,
        outcome=ALLOW,
        agent=verified.agent,
        root=verified.root,
        chain=list(verified.chain),
        invocation=verified.cid,
    )


def _refusal(key: str, denied: Denied, case: VerificationAttempt) -> Receipt:
    claims = unverified.read(case.token, MAX_LINKS)
    return _receipt(key, case, outcome=denied.code, hop=denied.hop, **_named(denied, claims))


def _receipt(key: str, case: VerificationAttempt, **said: Any) -> Receipt:
    resource, args = hashes(case.asked)
    return Receipt(
        iss=key,
        service=case.rules.audience,
        cmd=case.asked.command,
        resource_hash=resource,
        args_hash=args,
        iat=case.now,
        **said,
    )


def _named(denied: Denied, claims: unverified.UnverifiedToken | None) -> dict[str, Any]:
    """Return what can be named of a rejected token: its cids, and its signers if they are known."""
    if claims is None:
        return {}
    if not claims.cids:
        return {"invocation": claims.cid}
    cids = {"invocation": claims.cid, "chain": list(claims.cids)}
    if denied.code not in _SIGNED:
        return cids
    return {**cids, "agent": claims.payload["iss"], "root": claims.root["iss"]}
