"""An approval request as JSON for operators, agents and webhooks. Pure."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from nomos._times import iso
from nomos.constraints import from_pol
from nomos.errors import ConfigurationError
from nomos.models import Absent, Did
from nomos.server.control.messages import DAMAGED, ReplyModel
from nomos.server.domain.envelope import Envelope, State, Vote


class AppView(ReplyModel):
    """The app that sent the question."""

    id: str
    name: str


class VoteView(ReplyModel):
    """One operator's vote; `roles` are the ones that it counts for."""

    operator: str
    name: str
    approve: bool
    roles: list[str]
    reason: str | Absent = None
    at: str


class ApprovalView(ReplyModel):
    """One approval request, complete.

    `root` and `invokedBy` are present when the agent acts for others: the agent whose authority it
    uses, and every agent through which the authority was delegated to this one.

    `args` are as the agent sent them, `bound` as they are signed: long texts by their hash. Both
    are absent when the question binds no arguments: the approval is then for any arguments that
    `pol` allows. `constraints` has these statements in words, one for each.
    """

    id: str
    state: State
    app: AppView
    agent: Did
    root: Did | Absent = None
    invoked_by: list[Did] | Absent = None
    command: str
    resource: dict[str, Any]
    args_bound: bool
    args: dict[str, Any] | Absent = None
    bound: dict[str, Any] | Absent = None
    pol: list[Any] | Absent = None
    constraints: list[str] | Absent = None
    purpose: str | Absent = None
    context: dict[str, Any] | Absent = None
    audience: str | Absent = None
    ttl_seconds: int
    policies: list[str]
    reason: str | Absent = None
    roles: list[str]
    approved_roles: list[str]
    votes: list[VoteView]
    created_at: str
    expires_at: str
    decided_at: str | Absent = None
    consumed_at: str | Absent = None
    fingerprint: str
    receipt_id: str
    approval_url: str
    version: str = Field(
        description="The sha256 of everything that is shown here. A vote names it, and counts for "
        "this version only."
    )


class ApprovalReply(ApprovalView):
    """One approval request, as it is at `serverTime`."""

    server_time: str


class ApprovalsReply(ReplyModel):
    """Approval requests, newest first."""

    approvals: list[ApprovalView]
    damaged: list[str] = Field(default=[], description=DAMAGED)
    server_time: str


def url(control_url: str, ident: str) -> str:
    """Return the page on which an operator votes."""
    return f"{control_url}/approvals/{ident}"


def view(control_url: str, envelope: Envelope, now: int) -> dict[str, Any]:
    """Return the public form of an envelope at `now`."""
    question = envelope.bound
    bound = question["args"]
    result = ApprovalView(
        id=envelope.id,
        state=envelope.state_at(now),
        app=AppView(id=envelope.app, name=envelope.app_name),
        agent=question["agentDid"],
        root=question["root"],
        invoked_by=question["invokedBy"] or None,
        command=question["command"],
        resource=question["resource"],
        args_bound=bound is not None,
        args=None if bound is None else dict(envelope.sent or bound),
        bound=bound,
        pol=question.get("pol"),
        constraints=_worded(question.get("pol")),
        purpose=envelope.purpose,
        context=question["context"] or None,
        audience=question.get("audience"),
        ttl_seconds=question["ttl"],
        policies=list(envelope.policies),
        reason=envelope.reason,
        roles=list(envelope.roles),
        approved_roles=list(envelope.approved_roles),
        votes=[_vote(vote) for vote in envelope.votes],
        created_at=iso(envelope.created_at),
        expires_at=iso(envelope.expires_at),
        decided_at=_iso(envelope.decided_at),
        consumed_at=_iso(envelope.consumed_at),
        fingerprint=envelope.fingerprint,
        receipt_id=envelope.receipt_id,
        approval_url=url(control_url, envelope.id),
        version=envelope.version,
    )
    return result.model_dump(by_alias=True, exclude_none=True)


def _worded(pol: list[Any] | None) -> list[str] | None:
    return None if pol is None else [_in_words(statement) for statement in pol]


def _in_words(statement: Any) -> str:
    """Return a statement in words; one that was signed and cannot be read here, as ASCII JSON."""
    try:
        return str(from_pol([statement]))
    except ConfigurationError:
        return json.dumps(statement)


def _vote(vote: Vote) -> VoteView:
    return VoteView(
        operator=vote.operator,
        name=vote.name,
        approve=vote.approve,
        roles=list(vote.roles),
        reason=vote.reason,
        at=iso(vote.at),
    )


def _iso(seconds: int | None) -> str | None:
    return None if seconds is None else iso(seconds)
