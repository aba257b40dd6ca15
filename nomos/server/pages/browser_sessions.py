"""Browser sessions: the cookie, its session, and the check that a form is from the same session.

The cookie holds 32 random bytes. Signing in replaces them, which prevents session fixation. A form
contains an HMAC with the cookie's secret as the key, which no other site can compute, and the
headers `sec-fetch-site` and `origin` must name this site. Another port of this host is another
site.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from nomos.server.control.context import Context
from nomos.server.control.credentials import hashed, random_text
from nomos.server.control.errors import ControlError
from nomos.server.domain.accounts import EVERY_ROLE, ApiKey
from nomos.server.storage.sessions import Session

SESSION_SECONDS: Final = 8 * 60 * 60
HOME: Final = "/approvals"
_SECRET: Final = re.compile(r"[0-9a-z]{52}")
_LOCAL: Final = re.compile(r"/approvals(/env_[0-9a-z]{26})?")
_FORM: Final = b"nomos approvals form"


@dataclass(frozen=True)
class BrowserSession:
    """One request of a browser. `known` when it sent a cookie; `session` when it is signed in."""

    secret: str = field(repr=False)
    known: bool
    session: Session | None

    @property
    def csrf(self) -> str:
        """The CSRF token of forms on the page."""
        return hmac.new(self.secret.encode(), _FORM, hashlib.sha256).hexdigest()


async def browser_session(context: Context, request: Request) -> BrowserSession:
    """Read the cookie, and look up its session."""
    sent = request.cookies.get(cookie_name(context.control_url), "")
    if not _SECRET.fullmatch(sent):
        return BrowserSession(random_text(), known=False, session=None)
    return BrowserSession(sent, known=True, session=await context.store.sessions.find(hashed(sent)))


def operator_key(session: Session) -> ApiKey:
    """Return the key that the session acts with: it covers the roles that every key covers."""
    first = session.keys[0]
    named = [set(key.covers) for key in session.keys if EVERY_ROLE not in key.covers]
    if not named:
        return first
    return replace(first, covers=tuple(sorted(set.intersection(*named))))


def check_origin(request: Request, control_url: str) -> None:
    """Raise ControlError if the headers say that another site sent the form."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        raise _cross_site()
    scheme = urlsplit(control_url).scheme
    own = {_origin(control_url), f"{scheme}://{request.headers.get('host', '')}".lower()}
    for origin in request.headers.getlist("origin"):
        # The pages set `no-referrer`, so a browser may send `null` as the origin of their forms.
        if origin != "null" and origin.lower() not in own:
            raise _cross_site()


def check_form(current: BrowserSession, form: Mapping[str, str]) -> None:
    """Raise ControlError if the form is not from a page of this session."""
    sent = form.get("csrf", "")
    if not current.known or not hmac.compare_digest(sent.encode(), current.csrf.encode()):
        raise ControlError(
            "forbidden",
            "The form belongs to another session, or your browser sent no cookie. Nothing was "
            "changed. Open the page again and retry",
        )


def safe_redirect(target: str | None) -> str:
    """Return the page to open after signing in: `target` if it is one of these pages, else HOME."""
    return target if target is not None and _LOCAL.fullmatch(target) else HOME


def set_cookie(response: Response, control_url: str, secret: str) -> None:
    """Set the session cookie."""
    response.set_cookie(
        cookie_name(control_url),
        secret,
        max_age=SESSION_SECONDS,
        path=HOME,
        secure=_secure(control_url),
        httponly=True,
        samesite="strict",
    )


def clear_cookie(response: Response, control_url: str) -> None:
    """Delete the session cookie."""
    response.delete_cookie(
        cookie_name(control_url),
        path=HOME,
        secure=_secure(control_url),
        httponly=True,
        samesite="strict",
    )


def cookie_name(control_url: str) -> str:
    """Return the cookie's name. It contains the port: all ports of a host share cookies."""
    port = urlsplit(control_url).port
    return "nomos_session" if port is None else f"nomos_session_{port}"


def _secure(control_url: str) -> bool:
    return urlsplit(control_url).scheme == "https"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _cross_site() -> ControlError:
    return ControlError(
        "forbidden",
        "The form was sent from another site. Nothing was changed. Open the page and retry",
    )
