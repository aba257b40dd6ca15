"""Signing in to the pages, with a one-time link or an operator's API key, and signing out.

GET shows a link's operator and changes nothing; POST uses the link.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from nomos.audit.record import Record
from nomos.server.control.context import Context
from nomos.server.control.credentials import authenticate, hashed, random_text
from nomos.server.control.errors import ControlError
from nomos.server.control.login import OPERATORS, PATH, TOKEN
from nomos.server.domain.accounts import ApiKey
from nomos.server.pages import browser_sessions
from nomos.server.pages.browser_sessions import HOME, BrowserSession
from nomos.server.pages.forms import read_form
from nomos.server.pages.render import page, redirect
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.sessions import Issue, LoginLink

USED: Final = "This link was already used. Create a new one: nomos approvals open"
EXPIRED: Final = (
    "This link has expired; links work for 10 minutes. Create a new one: nomos approvals open"
)
UNKNOWN: Final = (
    "This link is unknown to this server or incomplete. Create a new one: nomos approvals open"
)
WRONG: Final = "Not an operator's API key, and not a one-time token of this server"


async def show_login(context: Context, request: Request) -> Response:
    """Return the form; for a one-time link, its operator's name and a button."""
    current = await browser_sessions.browser_session(context, request)
    target = browser_sessions.safe_redirect(request.query_params.get("next"))
    token = request.query_params.get("token")
    if token is None:
        return redirect(target) if current.session else _form(context, current, target)
    link = await _known(context, token)
    problem = _problem(link, int(context.clock()))
    if problem is not None:
        _count_failure(context, request)
        return _form(context, current, target, status=401, problem=problem)
    return _form(context, current, target, link=link, token=token)


async def sign_in(context: Context, request: Request) -> Response:
    """Begin a session for an API key or a link's token."""
    browser_sessions.check_origin(request, context.control_url)
    form = await read_form(request)
    current = await browser_sessions.browser_session(context, request)
    browser_sessions.check_form(current, form)
    target = browser_sessions.safe_redirect(form.get("next"))
    sent = form.get("secret", "").strip()
    token = TOKEN.search(sent)
    try:
        if token is not None:
            secret = await _by_link(context, request, token[0])
        else:
            secret = await _by_key(context, request, sent)
    except ControlError as refusal:
        if refusal.code not in ("invalid_api_key", "missing_api_key", "forbidden", "app_disabled"):
            raise
        _count_failure(context, request)
        return _form(context, current, target, status=401, problem=refusal.message)
    response = redirect(target)
    browser_sessions.set_cookie(response, context.control_url, secret)
    return response


async def sign_out(context: Context, request: Request) -> Response:
    """End the session, in the browser and on the server."""
    browser_sessions.check_origin(request, context.control_url)
    form = await read_form(request)
    current = await browser_sessions.browser_session(context, request)
    if current.session is not None:
        browser_sessions.check_form(current, form)
        session = current.session
        record = _record(context, request, session.tenant, session.operator, "logout")
        await context.store.sessions.end(hashed(current.secret), record)
    response = redirect(PATH)
    browser_sessions.clear_cookie(response, context.control_url)
    return response


async def _by_link(context: Context, request: Request, token: str) -> str:
    link = await _known(context, token)
    problem = _problem(link, int(context.clock()))
    if link is None or problem is not None:
        raise ControlError("invalid_api_key", problem or UNKNOWN)
    secret = await _begin(context, request, link.tenant, link.operator, link=hashed(token))
    if secret is None:
        raise ControlError("invalid_api_key", USED)
    return secret


async def _by_key(context: Context, request: Request, sent: str) -> str:
    try:
        key = await authenticate(context.store, [f"Bearer {sent}"], OPERATORS)
    except ControlError as refusal:
        if refusal.code == "invalid_api_key":
            raise ControlError("invalid_api_key", WRONG) from None
        raise
    secret = await _begin(context, request, key.tenant, key.app, key=key)
    if secret is None:  # the key was replaced in the meantime
        raise ControlError("invalid_api_key", WRONG)
    return secret


async def _begin(
    context: Context,
    request: Request,
    tenant: str,
    operator: str,
    *,
    link: str | None = None,
    key: ApiKey | None = None,
) -> str | None:
    """Return the secret of a new session; None if the link or key is no longer valid."""
    secret, now = random_text(), int(context.clock())
    session = Issue(hashed(secret), tenant, operator, now, now + browser_sessions.SESSION_SECONDS)
    by = "api_key" if link is None else "link"
    record = _record(context, request, tenant, operator, "login", by=by)
    begun = await context.store.sessions.begin(session, record, link=link, key=key)
    return secret if begun else None


def _record(
    context: Context, request: Request, tenant: str, operator: str, act: str, **detail: Any
) -> Record:
    at = int(context.clock() * 1000)
    return Record(
        id=new_receipt_id(at),
        tenant=tenant,
        kind="session",
        at=at,
        actor=operator,
        act=act,
        detail=detail,
        request_id=request.state.request_id,
    )


async def _known(context: Context, token: str) -> LoginLink | None:
    return await context.store.sessions.link(hashed(token)) if TOKEN.fullmatch(token) else None


def _problem(link: LoginLink | None, now: int) -> str | None:
    if link is None:
        return UNKNOWN
    if link.used_at is not None:
        return USED
    return EXPIRED if link.expires_at <= now else None


def _form(
    context: Context,
    current: BrowserSession,
    target: str,
    *,
    status: int = 200,
    problem: str | None = None,
    link: LoginLink | None = None,
    token: str | None = None,
) -> Response:
    response = page(
        "login.html",
        current,
        status=status,
        target=target,
        for_request=target != HOME,
        problem=problem,
        link=link,
        token=token,
    )
    if not current.known:
        browser_sessions.set_cookie(response, context.control_url, current.secret)
    return response


def _count_failure(context: Context, request: Request) -> None:
    """Count a failed attempt. Raises ControlError if there were too many from this address."""
    address = request.client.host if request.client else ""
    wait = context.attempts.wait(address, context.clock())
    if wait:
        message = f"Too many failed attempts to sign in. Retry in {wait} seconds"
        raise ControlError("rate_limited", message, headers={"retry-after": str(wait)})
    context.attempts.failed(address, context.clock())
