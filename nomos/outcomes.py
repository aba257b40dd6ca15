"""Approvals, votes, revocations and receipts, as immutable values.

They hold what the control plane reported. A `Receipt` is proven only by its `verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from nomos._sealed import SealedRecord
from nomos.models import Resource

ApprovalState = Literal["pending", "approved", "denied", "expired", "consumed"]
"""`consumed` is an approval that was used: each is good for one allow."""


class Vote(SealedRecord):
    """One operator's vote: approve or deny, in which roles, and why. `at` is in UTC."""

    _source: ClassVar = "guard.approvals"

    operator: str
    name: str
    approve: bool
    roles: tuple[str, ...] = ()
    reason: str | None = None
    at: datetime


class Approval(SealedRecord):
    """A question that waits for people, with its votes. Truthy only while it is approved.

    `args` are the agent's arguments in full; None if `args_bound` is false: then the approval is
    for any arguments. `constraints` are in words, and each must hold for the arguments. `roles` are
    those that must approve, `approved_roles` those that have. `reason` is why policy requires an
    approval. `url` is the page to decide at. `version` names the text of the question as shown
    here: a vote names a version and counts for that version only. Times are in UTC.
    """

    _source: ClassVar = "guard.wait_for_approval"
    _stored: ClassVar = "store its `id`, and read it again later: it changes until it is decided"

    id: str
    state: ApprovalState
    command: str
    resource: Resource
    args: dict[str, Any] | None = None
    args_bound: bool
    constraints: tuple[str, ...] = ()
    agent: str
    purpose: str | None = None
    context: Mapping[str, Any] | None = None
    policies: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    approved_roles: tuple[str, ...] = ()
    votes: tuple[Vote, ...] = ()
    reason: str | None = None
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None
    url: str | None = None
    version: str | None = None

    def __bool__(self) -> bool:
        return self.state == "approved"


class Revocation(SealedRecord):
    """A revocation of `id`. `seq` is its number in the tenant's log of revocations.

    `kind` says what was revoked. `already_revoked` is true if it was revoked before. `at` is in
    UTC.
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
