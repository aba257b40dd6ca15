"""Renders pages: one template each, with the same headers for all.

The pages use no scripts, no images and nothing from other sites, so the content security policy
forbids these: text from an agent could not run as a script even without escaping.
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
    "invalid_request": "The request is not valid",
    "forbidden": "You cannot do this",
    "app_disabled": "This app is disabled",
    "not_found": "Not found",
    "already_decided": "Already decided",
    "too_large": "The request is too large",
    "rate_limited": "Too many attempts",
    "unavailable": "The server is not available",
    "internal": "Internal server error",
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
        span=time_format.span,
    )
    environment.globals.update(style=STYLE_PATH)
    return environment


_TEMPLATES: Final = _environment()


def page(
    name: str, current: BrowserSession | None, *, status: int = 200, **values: Any
) -> Response:
    """Render a template; `current` gives the session in the head of the page."""
    session = None if current is None else current.session
    csrf = "" if current is None else current.csrf
    text = _TEMPLATES.get_template(name).render(session=session, csrf=csrf, **values)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def redirect(target: str) -> Response:
    """Redirect to another of these pages."""
    return RedirectResponse(target, status_code=303, headers=HEADERS)


def failure(request: Request, refusal: ControlError, *, back: str | None = None) -> Response:
    """Return the page of a refusal, with the request id that the server's log has."""
    response = page(
        "failure.html",
        None,
        status=refusal.status,
        title=TITLES.get(refusal.code, "The request failed"),
        message=refusal.message,
        code=refusal.code,
        request_id=request.state.request_id,
        back=back,
    )
    response.headers.update(refusal.headers)
    return response


def style() -> Response:
    """Return the style sheet. Its URL contains its hash, so browsers may cache it permanently."""
    headers = {
        "cache-control": "public, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
    }
    return Response(STYLE, media_type="text/css; charset=utf-8", headers=headers)
