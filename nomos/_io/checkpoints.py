"""Checkpoints checked by the signing binary."""

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
    """The signing binary, for a task: `nomos._io.signer.AsyncSigner`."""

    async def ask(self, request: Request) -> Answer | Refused: ...


def checking(signer: Signer) -> Callable[[str, Sequence[str]], Checkpoint | Refused]:
    """What `nomos.audit` asks about a checkpoint's signature: a token and who may have signed."""

    def check(token: str, issuers: Sequence[str]) -> Checkpoint | Refused:
        asked = _question(token, issuers)
        return asked if isinstance(asked, Refused) else _said(signer.ask(asked))

    return check


def checking_async(
    signer: CheckpointSigner,
) -> Callable[[str, Sequence[str]], Awaitable[Checkpoint | Refused]]:
    """`checking`, for an event loop."""

    async def check(token: str, issuers: Sequence[str]) -> Checkpoint | Refused:
        asked = _question(token, issuers)
        return asked if isinstance(asked, Refused) else _said(await signer.ask(asked))

    return check


def _question(token: str, issuers: Sequence[str]) -> VerifyCheckpoint | Refused:
    if not token.isascii():
        # Half a surrogate pair could not even be written to the binary.
        return Refused(code="malformed_ucan", message="a token is written in ASCII")
    try:
        return VerifyCheckpoint(token=token, issuers=list(issuers))
    except ValidationError:
        return Refused(code="untrusted_issuer", message="no Ed25519 did:key is its issuer")


def _said(answer: Answer | Refused) -> Checkpoint | Refused:
    if isinstance(answer, CheckpointVerified):
        return answer.checkpoint
    assert isinstance(answer, Refused), "a request is answered by its answer or a refusal"
    return answer
