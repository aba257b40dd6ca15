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
