"""The routes of the approval pages. An error is answered with a page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from nomos.errors import InvalidRequest
from nomos.server.control import errors
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError
from nomos.server.control.login import PATH
from nomos.server.control.route import Handler, Route
from nomos.server.pages import browser_sessions
from nomos.server.pages.browser_sessions import HOME
from nomos.server.pages.login import show_login, sign_in, sign_out
from nomos.server.pages.questions import answer, show_question, show_queue
from nomos.server.pages.render import STYLE_PATH, failure, redirect, style
from nomos.server.storage.damaged_rows import Damaged
from nomos.server.storage.database import StorageUnavailable

log = logging.getLogger("nomos.server")

Page = Callable[[Context, Request], Awaitable[Response]]


def _as_page(handler: Page) -> Handler:
    async def answer_with_page(context: Context, request: Request, caller: None) -> Response:
        try:
            return await handler(context, request)
        except ControlError as refusal:
            found = refusal
        except InvalidRequest as invalid:
            found = ControlError("invalid_request", str(invalid))
        except StorageUnavailable as unavailable:
            log.error("request %s: %s", request.state.request_id, unavailable)  # noqa: TRY400
            damaged = isinstance(unavailable, Damaged)
            message = str(unavailable) if damaged else "Nothing was changed. Retry in a moment"
            found = errors.unavailable(message)
        except ClientDisconnect:
            raise
        except Exception:
            log.exception("request %s failed", request.state.request_id)
            found = ControlError(
                "internal", "The cause is in the server's log, with the request id below"
            )
        return failure(request, _sentence(found), back=_back(request, found))

    return answer_with_page


def _sentence(refusal: ControlError) -> ControlError:
    """Return the refusal with its message as a sentence: first letter upper case, no full stop."""
    message = refusal.message[:1].upper() + refusal.message[1:]
    return ControlError(refusal.code, message.rstrip("."), headers=refusal.headers)


def _back(request: Request, refusal: ControlError) -> str | None:
    target = browser_sessions.safe_redirect(request.url.path)
    return None if target == HOME or refusal.code == "not_found" else target


async def _style(context: Context, request: Request) -> Response:
    return style()


async def _not_found(context: Context, request: Request) -> Response:
    if request.url.path == f"{HOME}/":
        return redirect(HOME)
    raise ControlError("not_found", "There is no page at this address")


def _route(method: str, path: str, handler: Page) -> Route:
    return Route(method, path, None, _as_page(handler), documented=False)


ROUTES: Final = (
    _route("GET", HOME, show_queue),
    _route("GET", STYLE_PATH, _style),
    _route("GET", PATH, show_login),
    _route("POST", PATH, sign_in),
    _route("POST", f"{HOME}/logout", sign_out),
    _route("GET", f"{HOME}/{{id}}", show_question),
    _route("POST", f"{HOME}/{{id}}", answer),
    _route("GET", f"{HOME}/{{rest:path}}", _not_found),
    _route("POST", f"{HOME}/{{rest:path}}", _not_found),
)
