"""Pages as responses: one template each, and the same headers for all of them.

The pages need no script, no picture and nothing from elsewhere, so the policy for content
forbids all of it; what an agent smuggled into a text could not run even if it were not escaped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from nomos.server.control import errors
from nomos.server.control.errors import ControlError
from nomos.server.pages import time_format
from nomos.server.pages.browser_sessions import BrowserSession
from nomos.server.pages.visible_text import visible

HERE: Final = Path(__file__).parent
STYLE: Final = (HERE / "style.css").read_bytes()
STYLE_PATH: Final = f"/approvals/style.{hashlib.sha256(STYLE).hexdigest()[:16]}.css"

HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

TITLES: Final[Mapping[errors.ErrorCode, str]] = {
    "invalid_request": "That could not be read",
    "forbidden": "You cannot do this",
    "app_disabled": "This app is disabled",
    "not_found": "There is nothing here",
    "already_decided": "This is already settled",
    "too_large": "That is too large",
    "rate_limited": "Too many tries",
    "unavailable": "The server cannot answer at the moment",
    "internal": "The server failed",
}


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        visible=visible,
        at=time_format.at,
        day=time_format.day,
        left=time_format.left,
        ago=time_format.ago,
    )
    environment.filters.update(span=time_format.span)
    environment.globals.update(style=STYLE_PATH)
    return environment


_TEMPLATES: Final = _environment()


def page(name: str, visit: BrowserSession | None, *, status: int = 200, **values: Any) -> Response:
    """Make a page from a template; `visit` is for the head of the page, if somebody is there."""
    session = None if visit is None else visit.session
    csrf = "" if visit is None else visit.csrf
    text = _TEMPLATES.get_template(name).render(session=session, csrf=csrf, **values)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def redirect(target: str) -> Response:
    """Go on to another of these pages."""
    return RedirectResponse(target, status_code=303, headers=HEADERS)


def failure(request: Request, refusal: ControlError, *, back: str | None = None) -> Response:
    """Say what was refused, and under which id the server's log knows of it."""
    response = page(
        "failure.html",
        None,
        status=refusal.status,
        title=TITLES.get(refusal.code, "That did not work"),
        message=refusal.message,
        code=refusal.code,
        request_id=request.state.request_id,
        back=back,
    )
    response.headers.update(refusal.headers)
    return response


def style() -> Response:
    """The one style sheet; its name changes with its content, so it can be kept for good."""
    headers = {
        "cache-control": "public, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
    }
    return Response(STYLE, media_type="text/css; charset=utf-8", headers=headers)
