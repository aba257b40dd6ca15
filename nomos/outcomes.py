"""What became of a question: approvals by people, revocations, receipts. Frozen values.

They are what the control plane tells; what a `Receipt` says is only proven by its `verify`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from nomos.models import Line, Moment, Resource, Told

ApprovalState = Literal["pending", "approved", "denied", "expired", "consumed"]
"""`consumed` is an approval that was used: it counts for one allow."""


class Vote(Told):
    """What one person answered, in which roles, and why."""

    operator: Line
    name: Line
    approve: bool = Field(strict=True)
    roles: tuple[Line, ...] = ()
    reason: Line | None = None
    at: Moment


class Approval(Told):
    """One question put to people, and what became of it. Truthy only while it is approved.

    `args` are what the agent sent, in full; None when `args_bound` is false, which means that
    the approval is for any arguments. Each of `constraints` must hold for them, in words. `roles`
    must all be covered, `approved_roles` are. `reason` is why the policy asks. `url` is the page
    to decide at. Times are aware, in UTC.
    """

    id: Line
    state: ApprovalState
    command: Line
    resource: Resource
    args: dict[str, Any] | None = None
    args_bound: bool = Field(strict=True)
    constraints: tuple[str, ...] = ()
    agent: Line
    purpose: str | None = None
    context: Mapping[str, Any] | None = None
    policies: tuple[Line, ...] = ()
    roles: tuple[Line, ...] = ()
    approved_roles: tuple[Line, ...] = ()
    votes: tuple[Vote, ...] = ()
    reason: str | None = None
    created_at: Moment
    expires_at: Moment
    decided_at: Moment | None = None
    url: Line | None = Field(default=None, alias="approvalUrl")

    def __bool__(self) -> bool:
        return self.state == "approved"


class Revocation(Told):
    """Something that holds no longer. `seq` is its number in the tenant's list of revocations."""

    id: Line
    kind: Line
    seq: int = Field(ge=1, strict=True)
    at: Moment
    already_revoked: bool = Field(default=False, strict=True)


@dataclass(frozen=True, kw_only=True, repr=False)
class ReceiptBase:
    """The record of one decision or one act, as it stands in the audit log.

    `row` is everything that was recorded, `hash` its sha256 in canonical form, `checkpoint` the
    issuer's signature over number and hash. Nothing here is proven until `verify`.
    """

    row: Mapping[str, Any]
    hash: str
    checkpoint: str
    issuer: str
    keys: tuple[Mapping[str, Any], ...] = ()

    def __repr__(self) -> str:
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
