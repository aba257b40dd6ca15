"""Receipts of verification: what a verifier decided, signed, for whoever asks later.

A receipt names who acted, on what authority, and what the call was, by hashes and cids. There is
no token in it and nothing that was secret. Whoever has the verifier's DID checks it offline.
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
from nomos._core.token_verification import MAX_LINKS, VerifierRules
from nomos._core.tokens import MAX_TOKEN
from nomos._core.verification import SIGNED
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
"""What would help against a receipt that is not believed."""

_SIGNED: Final[frozenset[str]] = SIGNED | {
    *("untrusted_issuer", "approval_not_found", "approval_mismatch"),
    *("approval_already_used", "replayed", "unavailable"),
}
"""Refusals that come after signatures were checked: who signed is known."""


class VerificationRecord(SealedRecord):
    """What a receipt of verification says, all of it signed by `issuer`.

    `outcome` is `allow` or the code of a refusal, with the `hop` at fault; `at` is when, by the
    verifier's clock. `service` is the audience that was verified for. `chain` and `invocation`
    are cids. `resource_hash` and `args_hash` are the sha256 of the canonical JSON (RFC 8785) of
    the call; `is_about` compares them with one. What was not known is None. `cid` is the
    receipt's own.
    """

    _source: ClassVar = "verify_record"
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
        """Whether the verifier let the call through."""
        return self.outcome == ALLOW

    def is_about(
        self, *, command: str, resource: Mapping[str, Any], args: Mapping[str, Any] | None = None
    ) -> bool:
        """Whether the receipt is about this call, all of it."""
        found = hashes(RequestedCall(command, resource, {} if args is None else args))
        return found[0] is not None and (self.command, self.resource_hash, self.args_hash) == (
            command,
            *found,
        )


@dataclass(frozen=True)
class ReportReceipt(Effect[None]):
    """Tell whoever wants to know of each receipt."""

    text: str = field(repr=False)


class ReceiptSigner:
    """The key that receipts are signed with; its DID is known once the binary has it."""

    def __init__(self, seed: Secret) -> None:
        self._seed = seed
        self._key: str | None = None

    def sign(self, receipt: Callable[[str], Receipt]) -> Flow[str]:
        """Return the text of a receipt; raises `SignerError` if there is none."""
        key = self._key or (yield from self._load())
        answer = yield from perform(Sign(SignReceipt(key=key, payload=receipt(key))))
        if isinstance(answer, Refused) and answer.code == "unknown_key":
            # Somebody else in this process was done with the same key.
            key = yield from self._load()
            answer = yield from perform(Sign(SignReceipt(key=key, payload=receipt(key))))
        if not isinstance(answer, Signed):
            raise SignerError("the receipt of a verification could not be signed")
        return answer.jwt

    def _load(self) -> Flow[str]:
        answer = yield from perform(Sign(LoadKey(seed=self._seed.reveal())))
        if not isinstance(answer, LoadKeyAnswer):
            raise SignerError("the signing binary did not take the key for receipts")
        self._key = answer.key
        return answer.key


@dataclass(frozen=True)
class VerificationAttempt:
    """What was verified, for whom and when."""

    rules: VerifierRules
    token: object = field(repr=False)
    asked: RequestedCall
    now: int


def with_receipt(
    flow: Flow[Verified], scribe: ReceiptSigner, case: VerificationAttempt
) -> Flow[Verified]:
    """Run `flow`, and put a receipt beside what comes of it, be it a yes or a no.

    Without its receipt nothing is allowed. A refusal stays one whatever becomes of its receipt.
    """
    try:
        verified = yield from flow
    except Denied as denied:
        yield from _refused(denied, scribe, case)
        raise
    text = yield from scribe.sign(lambda key: _allow(key, verified, case))
    yield from perform(ReportReceipt(text))
    return changed(verified, record=text)


def _refused(denied: Denied, scribe: ReceiptSigner, case: VerificationAttempt) -> Flow[None]:
    try:
        denied.record = yield from scribe.sign(lambda key: _refusal(key, denied, case))
        yield from perform(ReportReceipt(denied.record))
    except Exception as error:
        raise denied from error


def parse_receipt(answer: Answer | Refused) -> VerificationRecord:
    """Return what a receipt says, from the binary's answer about it; raises `Denied`."""
    if isinstance(answer, Refused):
        raise Denied(answer.message, code=answer.code, field=answer.field, fix=FIX)
    if not isinstance(answer, ReceiptVerified):
        raise SignerError("the signing binary gave another answer than was asked for")
    said = answer.receipt
    return make(
        VerificationRecord,
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
    """Return what to ask the binary about a receipt; raises `Denied` for what can be none."""
    if not isinstance(text, str) or not text.isascii():
        raise Denied("a receipt is a text of ASCII characters", code="malformed_ucan", fix=FIX)
    if len(text) > MAX_TOKEN:
        raise Denied(
            f"the receipt is longer than {MAX_TOKEN} characters", code="malformed_ucan", fix=FIX
        )
    return VerifyReceipt(token=text, issuers=issuers)


def hashes(asked: RequestedCall) -> tuple[str | None, str | None]:
    """Return the hashes of a call's resource and arguments; of no arguments there is none.

    Of a call that no token can be for, there is neither.
    """
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
    """What can be named of a token that was refused: its cids, and who signed, if that is known."""
    if claims is None:
        return {}
    if not claims.cids:
        return {"invocation": claims.cid}
    cids = {"invocation": claims.cid, "chain": list(claims.cids)}
    if denied.code not in _SIGNED:
        return cids
    return {**cids, "agent": claims.payload["iss"], "root": claims.root["iss"]}
