"""The list of approval requests, one request, and voting on it.

The pages call the same functions as the API, and so have the same permissions. A page also shows
beforehand why a vote would be rejected, and omits the button.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from nomos.server.control import approvals, messages
from nomos.server.control.approvals import DecideRequest
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError
from nomos.server.control.login import PATH
from nomos.server.domain import account_lines, envelope
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.envelope import Ballot
from nomos.server.pages import browser_sessions
from nomos.server.pages.browser_sessions import HOME, BrowserSession
from nomos.server.pages.forms import read_form
from nomos.server.pages.render import page, redirect
from nomos.server.pages.time_format import left, span
from nomos.server.pages.values import differing, shown_values
from nomos.server.pages.visible_text import count_unseen
from nomos.server.storage.sessions import Session

MAX_PENDING: Final = 50
MAX_RECENT: Final = 15
NOT_SHOWN: Final = "0" * 64
"""The version of a form without a version. No request has it, so the vote is rejected."""
SOON_SECONDS: Final = 3 * 60
"""Seconds before expiry from which the time left is shown as urgent."""

View = Mapping[str, Any]


async def show_queue(context: Context, request: Request) -> Response:
    """Show pending requests, and recently decided ones."""
    current = await browser_sessions.browser_session(context, request)
    if current.session is None:
        return _sign_in(request, HOME)
    caller = browser_sessions.operator_key(current.session)
    waiting = await approvals.listed(context, caller, "pending", MAX_PENDING + 1)
    pending = sorted(waiting.found, key=lambda item: str(item["expiresAt"]))
    latest = await approvals.listed(context, caller, "all", MAX_PENDING + MAX_RECENT)
    now = context.clock()
    recent = [_with_optional(item, now) for item in latest.found if item["state"] != "pending"]
    return page(
        "queue.html",
        current,
        pending=[_with_optional(item, now) for item in pending[:MAX_PENDING]],
        more=len(pending) > MAX_PENDING,
        recent=recent[:MAX_RECENT],
        damaged=sorted({*waiting.damaged, *latest.damaged}),
        now=now,
    )


async def show_question(context: Context, request: Request) -> Response:
    """Show one request in full, with the form to vote on it."""
    ident = _ident(request)
    current = await browser_sessions.browser_session(context, request)
    if current.session is None:
        return _sign_in(request, f"{HOME}/{ident}")
    caller = browser_sessions.operator_key(current.session)
    item = await approvals.view(context, caller, ident)
    return _question(item, current, await _objections(context, caller, ident), context.clock())


async def answer(context: Context, request: Request) -> Response:
    """Record a vote, then show the request with its new state."""
    ident = _ident(request)
    browser_sessions.check_origin(request, context.control_url)
    form = await read_form(request)
    current = await browser_sessions.browser_session(context, request)
    if current.session is None:
        return redirect(f"{PATH}?next={HOME}/{ident}")
    browser_sessions.check_form(current, form)
    vote, caller = _vote_in(form), browser_sessions.operator_key(current.session)
    try:
        await approvals.decide(context, caller, ident, vote, request_id=request.state.request_id)
    except ControlError as refusal:
        if refusal.code != "question_changed":
            raise
        item = await approvals.view(context, caller, ident)
        objections = await _objections(context, caller, ident)
        return _question(item, current, objections, context.clock(), changed=vote)
    return redirect(f"{HOME}/{ident}")


def _question(
    item: View,
    current: BrowserSession,
    objections: Mapping[str, str | None],
    now: float,
    *,
    changed: DecideRequest | None = None,
) -> Response:
    """Return the page of a request; `changed` is a vote on an older version of it."""
    session = current.session
    assert session is not None, "only a signed-in operator sees a request"
    sent, bound = item.get("args") or {}, item.get("bound")
    resource, args = shown_values(item["resource"]), shown_values(sent, bound)
    context = shown_values(item.get("context") or {})
    unseen = sum(row.unseen for row in (*resource, *args, *context))
    return page(
        "question.html",
        current,
        status=200 if changed is None else 409,
        changed=changed is not None,
        reason=(changed and changed.reason) or "",
        item=_with_optional(item, now),
        resource=resource,
        args=args,
        differing=differing(sent, bound or {}),
        context=context,
        through=[each for each in item.get("invokedBy", ()) if each != item.get("root")],
        unseen=unseen + count_unseen(item.get("purpose") or ""),
        objections=objections,
        others=_others(item, session),
        outcome=_outcome(item, now),
        settled=_settled(item),
        ttl=span(item["ttlSeconds"]),
        now=now,
    )


_OPTIONAL: Final[View] = dict.fromkeys(
    ("purpose", "reason", "audience", "root", "constraints", "decidedAt", "consumedAt")
)


def _with_optional(item: View, now: float) -> View:
    """Return a request with every member that templates use, and whether it expires soon."""
    soon = left(item["expiresAt"], now + SOON_SECONDS) == "no time"
    votes = [{"reason": None, **vote} for vote in item["votes"]]
    return {**_OPTIONAL, **item, "votes": votes, "soon": soon}


def _others(item: View, session: Session) -> list[str]:
    """Return the roles that would still be missing after this operator's approval."""
    missing = [role for role in item["roles"] if role not in item["approvedRoles"]]
    covered = envelope.covered_roles(browser_sessions.operator_key(session).covers, missing)
    return [role for role in missing if role not in covered]


def _outcome(item: View, now: float) -> dict[str, str]:
    """Return the state of a request as a title and a sentence."""
    match item["state"]:
        case "approved":
            title = "Approved, not used yet"
            text = (
                f"The agent may make one call. It must repeat its request within "
                f"{left(item['expiresAt'], now)}."
            )
        case "consumed":
            title = "Approved and used"
            text = "The agent received a grant for one call. The approval cannot be used again."
        case "denied" if all(vote["approve"] for vote in item["votes"]):
            title = "Revoked"
            text = "The approval, the agent or its app was revoked. The approval cannot be used."
        case "denied":
            title = "Denied"
            text = "The request was denied. The same request is denied for 15 minutes."
        case "expired":
            title = "Expired"
            text = "It was not decided in time, so it is denied. The agent can send a new request."
        case _:
            title = "Pending"
            missing = [role for role in item["roles"] if role not in item["approvedRoles"]]
            text = f"Approvals still needed: {', '.join(missing)}."
    return {"title": title, "text": text}


def _settled(item: View) -> str:
    match item["state"]:
        case "approved":
            return "Nothing more to do."
        case "expired":
            return "This request has expired."
    return "This decision is final."


async def _objections(context: Context, caller: ApiKey, ident: str) -> dict[str, str | None]:
    """Return why each vote of this operator would be rejected; None if it would count."""
    found = await context.store.envelopes.find(caller.tenant, ident)
    objections: dict[str, str | None] = {"approve": None, "deny": None}
    if found is None:
        return objections
    now = int(context.clock())
    persons = account_lines.persons(await context.store.apps.accounts(caller.app), caller.app)
    for name in objections:
        approve = name == "approve"
        ballot = Ballot(caller.app, caller.covers, approve, persons=persons)
        error = envelope.vote_error(found, ballot, now)
        if error is not None:
            objections[name] = error.message[:1].upper() + error.message[1:]
    return objections


def _vote_in(form: Mapping[str, str]) -> DecideRequest:
    """Return the vote in a form, validated like a vote in JSON."""
    decision = form.get("decision")
    if decision not in ("approve", "deny"):
        raise ControlError(
            "invalid_request",
            "The form has no decision: choose approve or deny. Nothing was changed",
        )
    reason = form.get("reason", "").replace("\r\n", "\n").strip()
    content = {"approve": decision == "approve", "version": form.get("version") or NOT_SHOWN}
    content |= {"reason": reason} if reason else {}
    return messages.read(DecideRequest, content)


def _ident(request: Request) -> str:
    ident: str = request.path_params["id"]
    if browser_sessions.safe_redirect(f"{HOME}/{ident}") == HOME:
        raise ControlError("not_found", "There is no approval request with this id")
    return ident


def _sign_in(request: Request, target: str) -> Response:
    """Redirect to the sign-in form.

    For a link from another site, the browser withholds a strict cookie. A page that links to
    `target` makes the browser send it, if there is one.
    """
    if request.headers.get("sec-fetch-site") == "cross-site":
        return page("onward.html", None, target=target)
    return redirect(PATH if target == HOME else f"{PATH}?next={target}")
