"""Audit records and revocations, as the control plane reported them.

A `Receipt` is proven only by its `verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from nomos._sealed import SealedRecord
from nomos.models import Resource


class Revocation(SealedRecord):
    """A revocation of `id`. `seq` is its number in the tenant's log of revocations.

    `kind` is the kind of `id`: `cid`, `agent`, `app`, `envelope` or `issuer`. `already_revoked`
    is true if it was revoked before. `at` is in UTC.
    """

    _source: ClassVar = "guard.revoke"
    _stored: ClassVar = "store its `id` and `seq`"

    id: str
    kind: str
    seq: int
    at: datetime
    already_revoked: bool = False


class ReceiptBase(SealedRecord):
    """The audit record of one decision or one act.

    `row` is the whole record, `hash` the sha256 of its canonical JSON (RFC 8785), `checkpoint` the
    issuer's signature over number and hash. `issuer` and `keys` are the issuer's DID and key
    history as reported. Nothing is proven before `verify`.
    """

    _source: ClassVar = "guard.receipt"
    _stored: ClassVar = "store its `id`, and read it again with guard.receipt(id)"

    row: Mapping[str, Any]
    hash: str
    checkpoint: str
    issuer: str
    keys: tuple[Mapping[str, Any], ...] = ()

    def __repr__(self) -> str:
        if "row" not in vars(self):
            return f"{type(self).__name__}()"
        content = " ".join(filter(None, (self.kind, self.decision, self.command)))
        return f"{type(self).__name__}({self.id!r}, seq={self.seq}, {content!r})"

    @property
    def id(self) -> str:
        """The id of the record (`evt_…`)."""
        return str(self.row["id"])

    @property
    def seq(self) -> int:
        """The record's number in the audit log."""
        return int(self.row["seq"])

    @property
    def at(self) -> datetime:
        """When it was recorded, in UTC."""
        return datetime.fromtimestamp(self.row["at"] / 1000, UTC)

    @property
    def kind(self) -> str:
        """The kind of record: `decision`, `call`, `approval`, `revocation`, …."""
        return str(self.row["kind"])

    @property
    def decision(self) -> str | None:
        """The recorded decision, None for a record without one."""
        return self.row.get("decision")

    @property
    def reason(self) -> str | None:
        """The recorded reason, None for a record without one."""
        return self.row.get("reason")

    @property
    def command(self) -> str | None:
        """The recorded command, None for a record without one."""
        return self.row.get("command")

    @property
    def resource(self) -> Resource | None:
        """The recorded resource, None for a record without one."""
        return self.row.get("resource")
