"""Routes for issuer keys: the key log of a tenant, and rotation.

Each entry is a row of the tenant's key log with the checkpoint that its predecessor signed over it
(`nomos.audit.keys`), so that a service which trusts one of the keys can follow to the next. States
describe what this server's own PDP accepts; they are not signed.
"""

from __future__ import annotations

import logging
from typing import Final

from pydantic import Field
from starlette.requests import Request

from nomos._times import iso
from nomos.errors import ConfigurationError, InvalidRequest, SignerError
from nomos.models import Absent
from nomos.server.control import body, messages
from nomos.server.control.context import Context
from nomos.server.control.errors import unavailable
from nomos.server.control.feed import topic
from nomos.server.control.messages import KeyLogRow, KeyState, MessageModel, ReplyModel
from nomos.server.control.route import route
from nomos.server.domain.accounts import ApiKey
from nomos.server.signing.issuers import NoMoreKeys, RotationRequest
from nomos.server.signing.key_rotation import entry
from nomos.server.storage.issuer_keys import ConcurrentRotation, IssuerKey
from nomos.server.storage.tenants import DEFAULT

log = logging.getLogger("nomos.server")


class KeysReply(ReplyModel):
    """A tenant's key log, oldest first: the last key is the one that signs."""

    tenant: str
    keys: list[KeyLogRow]
    server_time: str


class RotateRequest(MessageModel):
    """How to replace the key that signs."""

    revoke_old: bool | Absent = Field(
        default=False,
        description="Reject tokens of the old key at once, instead of accepting them until they "
        "expire; also those of keys that others put in its place meanwhile.",
    )


@route("GET", "/v1/keys", None, KeysReply)
async def get_keys(context: Context, request: Request, caller: ApiKey) -> KeysReply:
    """The issuer keys, active and earlier ones, each signed by the key before it."""
    return _reply(context, DEFAULT)


@route(
    "POST",
    "/v1/keys/rotate",
    ("operator",),
    KeysReply,
    accepts=RotateRequest,
    act=("rotate", "issuer key"),
)
async def post_rotate(context: Context, request: Request, caller: ApiKey) -> KeysReply:
    """Replace the active issuer key by a new one."""
    wanted = messages.read(RotateRequest, await body.read(request))
    act = RotationRequest(caller.app, request.state.request_id)
    try:
        await context.key_log.rotate(caller.tenant, act, revoke_old=bool(wanted.revoke_old))
    except NoMoreKeys as failure:
        raise InvalidRequest(str(failure)) from failure
    except (ConfigurationError, SignerError, ConcurrentRotation) as failure:
        log.exception("request %s: no key was rotated", act.request_id)
        raise unavailable(
            "no new key could be made, and the old one stays active; the server's log has the cause"
        ) from failure
    if wanted.revoke_old:
        context.notifier.notify(topic(caller.tenant))
    return _reply(context, caller.tenant)


def states(context: Context) -> list[KeyState]:
    """Return every issuer key, active ones first, then newest first."""
    keys = [key for tenant in context.issuers for key in reversed(context.key_log.log_of(tenant))]
    keys.sort(key=lambda key: key.state != "active")
    return [KeyState(did=key.did, state=key.state, until=_until(key)) for key in keys]


def entries(context: Context, tenant: str) -> list[KeyLogRow]:
    """Return a tenant's key log, oldest first."""
    return [
        KeyLogRow(**entry(key), did=key.did, state=key.state, until=_until(key))
        for key in context.key_log.log_of(tenant)
    ]


def _reply(context: Context, tenant: str) -> KeysReply:
    return KeysReply(tenant=tenant, keys=entries(context, tenant), server_time=iso(context.clock()))


def _until(key: IssuerKey) -> str | None:
    return None if key.until is None else iso(key.until)


ROUTES: Final = (get_keys, post_rotate)
