"""Checkpoints checked by the signing binary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import ValidationError

from nomos._io.signer import Signer
from nomos._wire import Checkpoint, CheckpointVerified, Refused, VerifyCheckpoint


def checking(signer: Signer) -> Callable[[str, Sequence[str]], Checkpoint | Refused]:
    """What `nomos.audit` asks about a checkpoint's signature: a token and who may have signed."""

    def check(token: str, issuers: Sequence[str]) -> Checkpoint | Refused:
        if not token.isascii():
            # Half a surrogate pair could not even be written to the binary.
            return Refused(code="malformed_ucan", message="a token is written in ASCII")
        try:
            question = VerifyCheckpoint(token=token, issuers=list(issuers))
        except ValidationError:
            return Refused(code="untrusted_issuer", message="no Ed25519 did:key is its issuer")
        answer = signer.ask(question)
        if isinstance(answer, CheckpointVerified):
            return answer.checkpoint
        assert isinstance(answer, Refused), "a request is answered by its answer or a refusal"
        return answer

    return check
