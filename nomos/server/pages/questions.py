"""The queue, one question, and answering it.

The rules of who may answer what are those of the API: a page asks the same functions. It only
says earlier why an answer would not count, and leaves the buttons out.
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
from nomos.server.pages import browser_sessions
from nomos.server.pages.browser_sessions import HOME, BrowserSession
from nomos.server.pages.forms import read_form
from nomos.server.pages.render import page, redirect
from nomos.server.pages.time_format import left, span
from nomos.server.pages.values import differing, shown_values
from nomos.server.pages.visible_text import count_unseen
from nomos.server.storage.sessions import Session

MOST_PENDING: Final = 50
MOST_RECENT: Final = 15
NOT_SHOWN: Final = "0" * 64
"""The version that a form without one answers, which no question has."""
SOON_SECONDS: Final = 3 * 60
"""From here on the time left is shown as urgent."""

View = Mapping[str, Any]


async def show_queue(ports: Context, request: Request) -> Response:
    """What waits for an answer, and what was settled lately."""
    visit = await browser_sessions.browser_session(ports, request)
    if visit.session is None:
        return _sign_in(request, HOME)
    caller = browser_sessions.operator_key(visit.session)
    waiting = await approvals.listed(ports, caller, "pending", MOST_PENDING + 1)
    pending = sorted(waiting.found, key=lambda item: str(item["expiresAt"]))
    latest = await approvals.listed(ports, caller, "all", MOST_PENDING + MOST_RECENT)
    now = ports.clock()
    recent = [_whole(item, now) for item in latest.found if item["state"] != "pending"]
    return page(
        "queue.html",
        visit,
        pending=[_whole(item, now) for item in pending[:MOST_PENDING]],
        more=len(pending) > MOST_PENDING,
        recent=recent[:MOST_RECENT],
        damaged=sorted({*waiting.damaged, *latest.damaged}),
        now=now,
    )


async def show_question(ports: Context, request: Request) -> Response:
    """Everything there is to know about one question, and the form that answers it."""
    ident = _ident(request)
    visit = await browser_sessions.browser_session(ports, request)
    if visit.session is None:
        return _sign_in(request, f"{HOME}/{ident}")
    caller = browser_sessions.operator_key(visit.session)
    item = await approvals.view(ports, caller, ident)
    return _question(item, visit, await _objections(ports, caller, ident), ports.clock())


async def answer(ports: Context, request: Request) -> Response:
    """Count an answer, then show what came of it."""
    ident = _ident(request)
    browser_sessions.check_origin(request, ports.control_url)
    form = await read_form(request)
    visit = await browser_sessions.browser_session(ports, request)
    if visit.session is None:
        return redirect(f"{PATH}?next={HOME}/{ident}")
    browser_sessions.check_form(visit, form)
    said, caller = _said(form), browser_sessions.operator_key(visit.session)
    try:
        await approvals.decide(ports, caller, ident, said, request_id=request.state.request_id)
    except ControlError as refusal:
        if refusal.code != "question_changed":
            raise
        item = await approvals.view(ports, caller, ident)
        objections = await _objections(ports, caller, ident)
        return _question(item, visit, objections, ports.clock(), changed=said)
    return redirect(f"{HOME}/{ident}")


def _question(
    item: View,
    visit: BrowserSession,
    objections: Mapping[str, str | None],
    now: float,
    *,
    changed: DecideRequest | None = None,
) -> Response:
    """The page of a question; `changed` is an answer to a version that is no longer this one."""
    session = visit.session
    assert session is not None, "only whoever is signed in sees a question"
    sent, bound = item.get("args") or {}, item.get("bound")
    resource, args = shown_values(item["resource"]), shown_values(sent, bound)
    context = shown_values(item.get("context") or {})
    told = sum(row.unseen for row in (*resource, *args, *context))
    return page(
        "question.html",
        visit,
        status=200 if changed is None else 409,
        changed=changed is not None,
        said=(changed and changed.reason) or "",
        item=_whole(item, now),
        resource=resource,
        args=args,
        differing=differing(sent, bound or {}),
        context=context,
        through=[each for each in item.get("invokedBy", ()) if each != item.get("root")],
        unseen=told + count_unseen(item.get("purpose") or ""),
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


def _whole(item: View, now: float) -> View:
    """An approval with each member a template may look at, and whether its time is short."""
    soon = left(item["expiresAt"], now + SOON_SECONDS) == "no time"
    votes = [{"reason": None, **vote} for vote in item["votes"]]
    return {**_OPTIONAL, **item, "votes": votes, "soon": soon}


def _others(item: View, session: Session) -> list[str]:
    """The roles that would still be missing after this operator approved."""
    missing = [role for role in item["roles"] if role not in item["approvedRoles"]]
    mine = envelope.covered_roles(browser_sessions.operator_key(session).covers, missing)
    return [role for role in missing if role not in mine]


def _outcome(item: View, now: float) -> dict[str, str]:
    """What has come of a question, in a line and a sentence."""
    match item["state"]:
        case "approved":
            title = "Approved, not used yet"
            text = (
                f"The agent may do this once. It has {left(item['expiresAt'], now)} to ask again."
            )
        case "consumed":
            title = "Approved and used"
            text = "The agent asked again and was allowed, once. Nothing of this approval is left."
        case "denied" if all(vote["approve"] for vote in item["votes"]):
            title = "Revoked"
            text = "The question, the agent or its app was revoked. This allows nothing any more."
        case "denied":
            title = "Denied"
            text = "The agent was not allowed. The same question is refused for 15 minutes."
        case "expired":
            title = "Expired"
            text = "Nobody settled it in time, so it was not allowed. Asked again, it is a new one."
        case _:
            title = "Waiting"
            missing = [role for role in item["roles"] if role not in item["approvedRoles"]]
            text = f"Still missing: {', '.join(missing)}. Nothing is allowed before that."
    return {"title": title, "text": text}


def _settled(item: View) -> str:
    match item["state"]:
        case "approved":
            return "There is nothing more to do here."
        case "expired":
            return "It can no longer be answered."
    return "It cannot be changed any more."


async def _objections(ports: Context, caller: ApiKey, ident: str) -> dict[str, str | None]:
    """Why an answer of this operator would not count, None for one that would."""
    found = await ports.store.envelopes.find(caller.tenant, ident)
    objections: dict[str, str | None] = {"approve": None, "deny": None}
    if found is None:
        return objections
    now = int(ports.clock())
    for word in objections:
        it = envelope.vote_error(
            found,
            caller.app,
            caller.covers,
            approve=word == "approve",
            now=now,
            persons=account_lines.persons(await ports.store.apps.accounts(caller.app), caller.app),
        )
        if it is not None:
            objections[word] = it.message[:1].upper() + it.message[1:]
    return objections


def _said(form: Mapping[str, str]) -> DecideRequest:
    """The answer in a form, under the same rules as one that comes as JSON."""
    decision = form.get("decision")
    if decision not in ("approve", "deny"):
        raise ControlError("invalid_request", "Say either approve or deny: nothing was decided")
    reason = form.get("reason", "").replace("\r\n", "\n").strip()
    content = {"approve": decision == "approve", "version": form.get("version") or NOT_SHOWN}
    content |= {"reason": reason} if reason else {}
    return messages.read(DecideRequest, content)


def _ident(request: Request) -> str:
    ident: str = request.path_params["id"]
    if browser_sessions.safe_redirect(f"{HOME}/{ident}") == HOME:
        raise ControlError("not_found", "There is no such approval")
    return ident


def _sign_in(request: Request, target: str) -> Response:
    """To the form. Coming from another site a browser keeps the cookie back: once more, then."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        return page("onward.html", None, target=target)
    return redirect(PATH if target == HOME else f"{PATH}?next={target}")
