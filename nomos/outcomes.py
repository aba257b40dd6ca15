"""What became of a question: approvals by people, revocations, receipts. Frozen values.

They are what the control plane tells; what a `Receipt` says is only proven by its `verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from nomos._sealed import SealedRecord
from nomos.models import Resource

ApprovalState = Literal["pending", "approved", "denied", "expired", "consumed"]
"""`consumed` is an approval that was used: it counts for one allow."""


class Vote(SealedRecord):
    """What one person answered, in which roles, and why."""

    _source: ClassVar = "guard.approvals"

    operator: str
    name: str
    approve: bool
    roles: tuple[str, ...] = ()
    reason: str | None = None
    at: datetime


class Approval(SealedRecord):
    """One question put to people, and what became of it. Truthy only while it is approved.

    `args` are what the agent sent, in full; None when `args_bound` is false, which means that
    the approval is for any arguments. Each of `constraints` must hold for them, in words. `roles`
    must all be covered, `approved_roles` are. `reason` is why the policy asks. `url` is the page
    to decide at. `version` names the text of the question that is shown here: an answer names it,
    and counts for that text alone. Times are aware, in UTC.
    """

    _source: ClassVar = "guard.wait_for_approval"
    _stored: ClassVar = "store its `id`, and look at it again: it changes until it is decided"

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
    """Something that holds no longer. `seq` is its number in the tenant's list of revocations."""

    _source: ClassVar = "guard.revoke"
    _stored: ClassVar = "store its `id` and `seq`"

    id: str
    kind: str
    seq: int
    at: datetime
    already_revoked: bool = False


class ReceiptBase(SealedRecord):
    """The record of one decision or one act, as it stands in the audit log.

    `row` is everything that was recorded, `hash` its sha256 in canonical form, `checkpoint` the
    issuer's signature over number and hash. Nothing here is proven until `verify`.
    """

    _source: ClassVar = "guard.receipt"
    _stored: ClassVar = "store its `id`, and ask for it again with guard.receipt(id)"

    row: Mapping[str, Any]
    hash: str
    checkpoint: str
    issuer: str
    keys: tuple[Mapping[str, Any], ...] = ()

    def __repr__(self) -> str:
        if "row" not in vars(self):
            return f"{type(self).__name__}()"
        said = " ".join(filter(None, (self.kind, self.decision, self.command)))
        return f"{type(self).__name__}({self.id!r}, seq={self.seq}, {said!r})"

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def seq(self) -> int:
        """The row's number in the log."""
        return int(self.row["seq"])

    @property
    def at(self) -> datetime:
        """When it was recorded, in UTC."""
        return datetime.fromtimestamp(self.row["at"] / 1000, UTC)

    @property
    def kind(self) -> str:
        """What is recorded: `decision`, `call`, `approval`, `revocation`, …."""
        return str(self.row["kind"])

    @property
    def decision(self) -> str | None:
        return self.row.get("decision")

    @property
    def reason(self) -> str | None:
        return self.row.get("reason")

    @property
    def command(self) -> str | None:
        return self.row.get("command")

    @property
    def resource(self) -> Resource | None:
        return self.row.get("resource")
