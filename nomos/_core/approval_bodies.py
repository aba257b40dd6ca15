"""Models of the control plane's replies about approvals, votes, explanations and revocations.

pydantic cannot build the values themselves (`nomos.approvals` and `nomos.receipts`), because they
are sealed. So each model here has the members of one value, and `value()` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from nomos._sealed import make
from nomos.approvals import Approval, ApprovalState, Vote
from nomos.models import Explanation, Line, Moment, OpenField, Resource, ResponseModel, WebAddress
from nomos.receipts import Revocation


class OpenFieldBody(ResponseModel):
    policy: str
    field: str

    def value(self) -> OpenField:
        return make(OpenField, **_members(self))


class ExplanationBody(ResponseModel):
    policies: tuple[str, ...] = ()
    message: str | None = None
    fields: tuple[str, ...] = ()
    open: tuple[OpenFieldBody, ...] = ()

    def value(self) -> Explanation:
        left_open = tuple(each.value() for each in self.open)
        return make(Explanation, **(_members(self) | {"open": left_open}))


class VoteBody(ResponseModel):
    operator: Line
    name: Line
    approve: bool = Field(strict=True)
    roles: tuple[Line, ...] = ()
    reason: Line | None = None
    at: Moment

    def value(self) -> Vote:
        return make(Vote, **_members(self))


class ApprovalBody(ResponseModel):
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
    votes: tuple[VoteBody, ...] = ()
    reason: str | None = None
    created_at: Moment
    expires_at: Moment
    decided_at: Moment | None = None
    url: WebAddress | None = Field(default=None, alias="approvalUrl")
    version: Line | None = None

    def value(self) -> Approval:
        votes = tuple(each.value() for each in self.votes)
        return make(Approval, **(_members(self) | {"votes": votes}))


class RevocationBody(ResponseModel):
    id: Line
    kind: Line
    seq: int = Field(ge=1, strict=True)
    at: Moment
    already_revoked: bool = Field(default=False, strict=True)

    def value(self) -> Revocation:
        return make(Revocation, **_members(self))


def _members(body: ResponseModel) -> dict[str, Any]:
    return {name: getattr(body, name) for name in type(body).model_fields}
