"""Who a browser is: its cookie, its session, and whether a form is really its own.

The cookie holds 32 random bytes, before signing in and after; signing in changes them, so that
nobody can be given a session somebody else knows. A form carries an HMAC under the cookie's
secret, which no other site can know, and what the browser says about where the form came from
must agree. Sites on other ports of this machine count as other sites.
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
from nomos.server.control.errors import ControlError
from nomos.server.control.login import hashed, random_text
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
        """What a form on the page must carry."""
        return hmac.new(self.secret.encode(), _FORM, hashlib.sha256).hexdigest()


async def browser_session(ports: Context, request: Request) -> BrowserSession:
    """Read the cookie, and look its session up."""
    sent = request.cookies.get(cookie_name(ports.control_url), "")
    if not _SECRET.fullmatch(sent):
        return BrowserSession(random_text(), known=False, session=None)
    return BrowserSession(sent, known=True, session=await ports.store.sessions.find(hashed(sent)))


def operator_key(session: Session) -> ApiKey:
    """The key that the session acts with: it covers what each of the operator's keys does."""
    first = session.keys[0]
    named = [set(key.covers) for key in session.keys if EVERY_ROLE not in key.covers]
    if not named:
        return first
    return replace(first, covers=tuple(sorted(set.intersection(*named))))


def check_origin(request: Request, control_url: str) -> None:
    """Refuse a form that another site sent."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        raise _foreign()
    scheme = urlsplit(control_url).scheme
    own = {_origin(control_url), f"{scheme}://{request.headers.get('host', '')}".lower()}
    for origin in request.headers.getlist("origin"):
        # These pages ask for no referrer, so browsers may hide their origin from their own site.
        if origin != "null" and origin.lower() not in own:
            raise _foreign()


def check_form(current: BrowserSession, form: Mapping[str, str]) -> None:
    """Refuse a form that was not on a page of this very session."""
    sent = form.get("csrf", "")
    if not current.known or not hmac.compare_digest(sent.encode(), current.csrf.encode()):
        raise ControlError(
            "forbidden",
            "The form belongs to another session, or your browser sent no cookie. Nothing was "
            "done. Open the page again and retry",
        )


def safe_redirect(target: str | None) -> str:
    """The page to go to after signing in: one of these pages, whatever was asked for."""
    return target if target is not None and _LOCAL.fullmatch(target) else HOME


def set_cookie(response: Response, control_url: str, secret: str) -> None:
    """Give the browser its secret."""
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
    """Have the browser forget its secret."""
    response.delete_cookie(
        cookie_name(control_url),
        path=HOME,
        secure=_secure(control_url),
        httponly=True,
        samesite="strict",
    )


def cookie_name(control_url: str) -> str:
    """Cookies are shared by all ports of a host; servers beside each other must not be."""
    port = urlsplit(control_url).port
    return "nomos_session" if port is None else f"nomos_session_{port}"


def _secure(control_url: str) -> bool:
    return urlsplit(control_url).scheme == "https"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _foreign() -> ControlError:
    return ControlError(
        "forbidden", "The form was sent from another site. Nothing was done. Open the page itself"
    )
