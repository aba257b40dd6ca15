"""`Receipt` and `AsyncReceipt`: an audit record, and its verification by the issuer's DID.

Verification needs the signing binary. It needs no control plane and no open guard.
"""

from __future__ import annotations

from typing import Any, Self

import anyio.to_thread

from nomos._identifiers import is_did
from nomos._io.checkpoints import checking
from nomos._io.signer import Signer, shared
from nomos._tracebacks import without_frames
from nomos._unawaited import Asynchronous
from nomos.audit.receipt import check_receipt
from nomos.errors import ConfigurationError
from nomos.receipts import ReceiptBase


class Receipt(ReceiptBase):
    """The audit record of one decision or one act, from an `AuthGuard`; not verified yet.

    `row` is the whole record, `hash` the sha256 of its canonical JSON (RFC 8785), `checkpoint` the
    issuer's signature over number and hash. `issuer` and `keys` are the issuer's DID and key
    history as reported. Only `verify` proves them.
    """

    def verify(self, issuer: str) -> Self:
        """Return the receipt if `issuer` recorded exactly this; raise `InvalidReceipt` if not.

        `issuer` is the DID of the control plane's issuer, obtained once over a trusted connection
        (`GET /.well-known/nomos`, `issuers[0].did`). Do not take it from the receipt: that would
        prove nothing. If the issuer has changed its key since, the receipt is accepted where each
        key signed for the next.

        Raises `ConfigurationError` if `issuer` is not a did:key, `SignerError` if the signing
        binary gives no answer.
        """
        _check(self, issuer)
        return self


class AsyncReceipt(Asynchronous, ReceiptBase):
    """The same as `Receipt`, from an `AsyncAuthGuard`, with a method to be awaited."""

    async def verify(self, issuer: str) -> Self:
        """See `Receipt.verify`."""
        await anyio.to_thread.run_sync(_check, self, issuer)
        return self


@without_frames
def _check(receipt: ReceiptBase, issuer: str) -> None:
    if not is_did(issuer):
        raise ConfigurationError(
            "issuer must be the DID of the control plane's issuer, did:key:z6Mk…: "
            "`GET /.well-known/nomos` returns it as issuers[0].did (a denied grant has none)",
            setting="issuer",
        )
    record: dict[str, Any] = {
        "row": dict(receipt.row),
        "hash": receipt.hash,
        "checkpoint": receipt.checkpoint,
        "issuer": receipt.issuer,
        "keys": [dict(key) for key in receipt.keys],
    }
    check_receipt(record, issuer, checking(Signer(shared())))
