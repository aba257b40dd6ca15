"""Routes for approval requests: list, show, wait for a decision, and vote.

An agent's app sees its own requests, operators see all of the tenant. An operator votes for the
roles that their key covers, never on a request of an app of their own. The routes, the pages and
the command line use the functions here.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final, get_args

from pydantic import Field
from starlette.requests import Request

from nomos._identifiers import SHA256_FORM
from nomos._times import iso
from nomos.audit.record import Record
from nomos.models import Absent, Purpose
from nomos.server.control import approval_view, body, messages
from nomos.server.control.approval_view import ApprovalReply, ApprovalsReply
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, invalid, shown
from nomos.server.control.invocation_auth import AgentPrincipal, authenticate
from nomos.server.control.messages import MessageModel
from nomos.server.control.route import route
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.envelope import Ballot, Envelope, State, Vote, VoteError
from nomos.server.domain.redaction import redact_text
from nomos.server.http.query import Choice, Number, Query
from nomos.server.storage.damaged_rows import Listed
from nomos.server.storage.envelope_rows import MAX_LISTED
from nomos.server.storage.records import new_receipt_id

MAX_WAIT: Final = 25
DEFAULT_LISTED: Final = 50
STATES: Final[tuple[State, ...]] = get_args(State)


class DecideRequest(MessageModel):
    """An operator's vote; the reason is shown to the agent and recorded."""

    approve: bool
    version: Annotated[str, Field(pattern=f"^{SHA256_FORM}$")] = Field(
        description="The version of the request that was shown, from GET /v1/approvals/{id}."
    )
    reason: Annotated[Purpose, Field(description="At most 280 characters.")] | Absent = None


# Functions of the routes, the pages and the command line


async def listed(
    context: Context, caller: ApiKey, state: str = "pending", limit: int = DEFAULT_LISTED
) -> Listed[dict[str, Any]]:
    """Return the tenant's requests in a state, or in `all`, newest first."""
    if state not in (*STATES, "all"):
        raise invalid("state", f"is one of {', '.join(STATES)} or all")
    wanted = next((each for each in STATES if each == state), None)
    found = await context.store.envelopes.listed(caller.tenant, wanted, limit)
    now = int(context.clock())
    views = tuple(approval_view.view(context.control_url, each, now) for each in found.found)
    return Listed(views, found.damaged)


async def view(context: Context, caller: ApiKey, ident: str, *, wait: float = 0) -> dict[str, Any]:
    """Return one request, if the caller may see it: an agent sees those of its own app.

    An agent without an API key sees only its own. With `wait`, return when the request is no longer
    pending, or after that many seconds. Raises ControlError.
    """
    app = caller.app if caller.role == "agent" else None
    envelope = await _found(context, caller.tenant, ident, app)
    if isinstance(caller, AgentPrincipal) and envelope.bound["agentDid"] != caller.agent:
        raise _not_found(ident)
    if wait > 0 and _pending(context, envelope):
        with context.waiting.one(caller.app, reserved=caller.role == "operator"):
            envelope = await _settled(context, envelope, context.elapsed() + wait)
    return approval_view.view(context.control_url, envelope, int(context.clock()))


async def decide(
    context: Context,
    operator: ApiKey,
    ident: str,
    answer: DecideRequest,
    *,
    request_id: str,
) -> dict[str, Any]:
    """Record an operator's vote and return the request with its new state. Raises ControlError.

    A vote on another version than the present one does not count; the error's `details` then have
    the present one.
    """
    reason = None if answer.reason is None else redact_text(answer.reason)
    ballot = Ballot(operator.app, operator.covers, answer.approve, answer.version, reason)
    at = int(context.clock() * 1000)
    record = partial(_record, new_receipt_id(at), at, request_id)
    show = partial(approval_view.view, context.control_url)
    after = await context.store.envelopes.vote(operator.tenant, ident, ballot, record, show)
    if after is None:
        raise _not_found(ident)
    if isinstance(after, VoteError):
        changed = after.code == "question_changed"
        details = {"approval": await view(context, operator, ident)} if changed else None
        raise ControlError(after.code, after.message, details=details)
    for topic in (f"approval:{after.id}", f"approvals:{after.tenant}", "outbox"):
        context.notifier.notify(topic)
    return show(after, int(context.clock()))


async def _found(context: Context, tenant: str, ident: str, app: str | None) -> Envelope:
    found = await context.store.envelopes.find(tenant, ident)
    if found is None or app not in (None, found.app):
        raise _not_found(ident)
    return found


def _not_found(ident: str) -> ControlError:
    return ControlError("not_found", f"there is no approval {shown(ident)}, or you may not see it")


def _pending(context: Context, envelope: Envelope) -> bool:
    return envelope.state_at(int(context.clock())) == "pending"


async def _settled(context: Context, envelope: Envelope, until: float) -> Envelope:
    """Wait for a change: on every notification, and each second for changes by other processes."""
    while (
        _pending(context, envelope)
        and (left := until - context.elapsed()) > 0
        and not context.notifier.stopped
    ):
        await context.notifier.wait(f"approval:{envelope.id}", left)
        envelope = await _found(context, envelope.tenant, envelope.id, None)
    return envelope


def _record(ident: str, at: int, request_id: str, after: Envelope, vote: Vote) -> Record:
    """Return the audit record of a vote."""
    detail: dict[str, Any] = {
        "roles": list(vote.roles),
        "state": after.state,
        "version": vote.version,
    }
    if vote.reason is not None:
        detail["reason"] = vote.reason
    return Record(
        id=ident,
        tenant=after.tenant,
        kind="approval",
        at=at,
        app=after.app,
        agent=after.bound["agentDid"],
        command=after.bound["command"],
        envelope=after.id,
        parent=after.receipt_id,
        actor=vote.operator,
        act="approve" if vote.approve else "deny",
        root=after.bound["root"] or after.bound["agentDid"],
        request_id=request_id,
        detail=detail,
    )


# Routes

_LISTED: Final = Query(
    Choice("state", (*STATES, "all"), default="pending"),
    Number("limit", least=1, most=MAX_LISTED, default=DEFAULT_LISTED),
)
_SEEN: Final = Query(Number("wait", most=MAX_WAIT, default=0))


@route("GET", "/v1/approvals", ("operator",), ApprovalsReply, query=_LISTED)
async def get_list(context: Context, request: Request, caller: ApiKey) -> dict[str, Any]:
    """Approval requests; by default those that are pending."""
    query = _LISTED.read(request.scope["query_string"])
    found = await listed(context, caller, query["state"], query["limit"])
    return {
        "approvals": list(found.found),
        "damaged": list(found.damaged),
        "serverTime": iso(context.clock()),
    }


@route(
    "GET",
    "/v1/approvals/{id}",
    ("agent", "operator"),
    ApprovalReply,
    query=_SEEN,
    refuses=(429,),
    holder=authenticate,
)
async def get_one(context: Context, request: Request, caller: ApiKey) -> dict[str, Any]:
    """One approval request; with `wait`, the reply comes when it is no longer pending."""
    query = _SEEN.read(request.scope["query_string"])
    found = await view(context, caller, request.path_params["id"], wait=query["wait"])
    return found | {"serverTime": iso(context.clock())}


@route(
    "POST",
    "/v1/approvals/{id}/decide",
    ("operator",),
    ApprovalReply,
    accepts=DecideRequest,
    refuses=(409,),
)
async def post_decide(context: Context, request: Request, caller: ApiKey) -> dict[str, Any]:
    """Approve or deny, for the roles that the API key covers."""
    ident = request.path_params["id"]
    answer = _answer(await body.read(request), ident)
    after = await decide(context, caller, ident, answer, request_id=request.state.request_id)
    return after | {"serverTime": iso(context.clock())}


def _answer(sent: dict[str, Any], ident: str) -> DecideRequest:
    if sent.get("version") is None:
        raise invalid(
            "version",
            "is required, so that a vote counts only for what was shown. Read it at "
            f"GET /v1/approvals/{shown(ident)[1:-1]}, and send it with the vote",
        )
    return messages.read(DecideRequest, sent)


ROUTES: Final = (get_list, get_one, post_decide)
