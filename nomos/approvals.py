"""`Approval` and `Vote`: approval requests and their votes, as the control plane reported them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

from nomos._sealed import SealedRecord
from nomos.models import Resource

ApprovalState = Literal["pending", "approved", "denied", "expired", "consumed"]
"""`consumed` is an approval that was used: each is good for one allow."""


class Vote(SealedRecord):
    """One operator's vote on an approval.

    `operator` is the operator's app id, `name` the display name. `approve` is True for an approval
    and False for a denial, `roles` are those that the vote counts for, `reason` is the operator's.
    `at` is in UTC.
    """

    _source: ClassVar = "guard.approvals"

    operator: str
    name: str
    approve: bool
    roles: tuple[str, ...] = ()
    reason: str | None = None
    at: datetime


class Approval(SealedRecord):
    """A question that operators decide, with its votes. Truthy only while it is approved.

    Members:
        id: the id of the approval, `env_…`.
        state: one of `ApprovalState`.
        command, resource: the call.
        args: the agent's arguments in full; None if `args_bound` is false: then the approval is for
            any arguments.
        constraints: in words; each must hold for the arguments.
        agent: the DID of the agent.
        purpose, context: as stated by the agent.
        policies: the names of the policies that require the approval; `reason` is their text.
        roles, approved_roles: the roles that must approve, and those that have.
        votes: the votes of operators.
        created_at, expires_at, decided_at: times in UTC; None if not decided.
        url: the page to decide at, None without one.
        version: the version of the question as shown here: a vote counts for one version only.
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
