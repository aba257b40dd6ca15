"""One-time sign-in links to the approval pages, valid for ten minutes.

The person who opens a link and confirms it signs in as its operator, so only that operator can
request one. Only the hash of the secret is stored. Opening the link does not use it up, since chat
and mail programs open links; confirming does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from nomos._times import iso
from nomos.models import Secret
from nomos.server.control.context import Context
from nomos.server.control.credentials import hashed, random_text
from nomos.server.control.errors import ControlError
from nomos.server.control.messages import ReplyModel
from nomos.server.control.route import route
from nomos.server.domain.accounts import ApiKey, Role
from nomos.server.storage.sessions import Issue, Sessions

LINK_SECONDS: Final = 10 * 60
PATH: Final = "/approvals/login"
OPERATORS: Final[tuple[Role, ...]] = ("operator",)
TOKEN: Final = re.compile(r"nomos_login_[0-9a-z]{52}")


class LoginLinkReply(ReplyModel):
    """A link that signs in the person who confirms it first."""

    url: str
    expires_at: str


@dataclass(frozen=True)
class NewLoginLink:
    """A new link; its URL contains the secret."""

    url: Secret
    expires_at: int


async def make(sessions: Sessions, operator: ApiKey, now: float, control_url: str) -> NewLoginLink:
    """Make a link for the operator of this key. Raises ControlError if the key is invalid."""
    token = f"nomos_login_{random_text()}"
    at = int(now)
    link = Issue(hashed(token), operator.tenant, operator.app, at, at + LINK_SECONDS)
    if not await sessions.add_link(link, key=operator):
        raise ControlError(
            "invalid_api_key", "the API key was replaced, or its app disabled, meanwhile"
        )
    return NewLoginLink(Secret(f"{control_url}{PATH}?token={token}"), link.expires_at)


@route("POST", "/v1/login-links", OPERATORS, LoginLinkReply)
async def post_login_link(context: Context, request: Request, caller: ApiKey) -> LoginLinkReply:
    """Make a one-time link that signs in to the approval pages."""
    made = await make(context.store.sessions, caller, context.clock(), context.control_url)
    return LoginLinkReply(url=made.url.reveal(), expires_at=iso(made.expires_at))


ROUTES: Final = (post_login_link,)
