"""Verification of checkpoint signatures by the signing binary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from pydantic import ValidationError

from nomos._io.signer import Signer
from nomos._protocol import (
    Answer,
    Checkpoint,
    CheckpointVerified,
    Refused,
    Request,
    VerifyCheckpoint,
)


class CheckpointSigner(Protocol):
    """The signing binary as seen by a task: `nomos._io.signer.AsyncSigner`."""

    async def ask(self, request: Request) -> Answer | Refused: ...


def checking(signer: Signer) -> Callable[[str, Sequence[str]], Checkpoint | Refused]:
    """Return the check that `nomos.audit` needs: of a token and the DIDs that may sign it."""

    def check(token: str, issuers: Sequence[str]) -> Checkpoint | Refused:
        asked = _question(token, issuers)
        return asked if isinstance(asked, Refused) else _said(signer.ask(asked))

    return check


def checking_async(
    signer: CheckpointSigner,
) -> Callable[[str, Sequence[str]], Awaitable[Checkpoint | Refused]]:
    """The same as `checking`, for an event loop."""

    async def check(token: str, issuers: Sequence[str]) -> Checkpoint | Refused:
        asked = _question(token, issuers)
        return asked if isinstance(asked, Refused) else _said(await signer.ask(asked))

    return check


def _question(token: str, issuers: Sequence[str]) -> VerifyCheckpoint | Refused:
    if not token.isascii():
        # An unpaired surrogate cannot be encoded and sent to the binary.
        return Refused(code="malformed_ucan", message="a token must be ASCII text")
    try:
        return VerifyCheckpoint(token=token, issuers=list(issuers))
    except ValidationError:
        return Refused(code="untrusted_issuer", message="its issuer is not an Ed25519 did:key")


def _said(answer: Answer | Refused) -> Checkpoint | Refused:
    if isinstance(answer, CheckpointVerified):
        return answer.checkpoint
    assert isinstance(answer, Refused), "the binary answers with the request's answer or a refusal"
    return answer
