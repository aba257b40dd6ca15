"""`Receipt` and `AsyncReceipt`: a record that anyone can prove, knowing who signs.

Proving takes the signing binary and no control plane, so a receipt needs no open guard.
"""

from __future__ import annotations

import re
from typing import Any, Self

import anyio.to_thread

from nomos._io.checkpoints import checking
from nomos._io.signer import Signer, shared
from nomos._tracebacks import without_frames
from nomos._unawaited import Asynchronous
from nomos.audit.receipt import check_receipt
from nomos.errors import ConfigurationError
from nomos.outcomes import ReceiptBase

_DID = re.compile(r"did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}")


class Receipt(ReceiptBase):
    """The record of one decision or one act, from an `AuthGuard`."""

    def verify(self, issuer: str) -> Self:
        """Return the receipt if it is what the issuer recorded; raise `NotProven` if not.

        `issuer` is the DID of the control plane's issuer as you know it from elsewhere
        (`GET /.well-known/nomos`, once, over a way that you trust): who is told by the receipt
        whom to trust proves nothing. A key that came after the one you know is accepted when
        the one before it signed for it.

        Raises `SignerError` when the signing binary gives no answer.
        """
        _check(self, issuer)
        return self


class AsyncReceipt(Asynchronous, ReceiptBase):
    """The record of one decision or one act, from an `AsyncAuthGuard`."""

    async def verify(self, issuer: str) -> Self:
        """See `Receipt.verify`."""
        await anyio.to_thread.run_sync(_check, self, issuer)
        return self


@without_frames
def _check(receipt: ReceiptBase, issuer: str) -> None:
    if not isinstance(issuer, str) or not _DID.fullmatch(issuer):
        raise ConfigurationError(
            "issuer must be the DID of the control plane's issuer, did:key:z6Mk…: "
            "`GET /.well-known/nomos` has it as issuers[0].did (a grant that is no allow has none)",
            setting="issuer",
        )
    told: dict[str, Any] = {
        "row": dict(receipt.row),
        "hash": receipt.hash,
        "checkpoint": receipt.checkpoint,
        "issuer": receipt.issuer,
        "keys": [dict(key) for key in receipt.keys],
    }
    check_receipt(told, issuer, checking(Signer(shared())))
