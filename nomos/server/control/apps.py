"""Routes for apps: register, list, disable, confirm, and rotate an API key.

An API key is shown once, when it is made. `permissions` has what an operator may do to which
account, `account_lines` which accounts count as one person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field
from starlette.requests import Request

from nomos._times import iso
from nomos.audit.record import Record
from nomos.errors import ConfigurationError, InvalidRequest
from nomos.models import Absent
from nomos.server.control import (
    body,
    credentials,
    messages,
    openapi,
    permissions,
    remaining_accounts,
)
from nomos.server.control.context import Context
from nomos.server.control.credentials import MAX_COVERS, RepeatedRequest
from nomos.server.control.errors import ControlError, invalid, shown
from nomos.server.control.messages import DAMAGED, MessageModel, ReplyModel
from nomos.server.control.permissions import Act, Kind, PermissionTarget
from nomos.server.control.route import route
from nomos.server.domain import account_lines
from nomos.server.domain.accounts import ApiKey, Role
from nomos.server.storage.api_keys import LastOperator
from nomos.server.storage.apps import KeyShown
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.registered_apps import Registered

MAX_APPS: Final = 10_000
RESERVED: Final = 100
"""The last ones of these apps that only operators who cover every role may register."""


Covered = Annotated[str, Field(pattern=r"^[^\x00-\x20\x7f-\x9f*,]{1,64}$|^\*$")]


class AppRequest(MessageModel):
    """The app to register, with one API key."""

    name: str = Field(description="The display name, 1 to 100 characters.")
    role: Role
    covers: Annotated[list[Covered], Field(max_length=MAX_COVERS)] | Absent = Field(
        default=None, description="The roles that an operator may vote for; `*` for all."
    )


class AppReply(ReplyModel):
    """An app."""

    id: str
    name: str
    role: Role
    covers: list[str]
    owner: str | Absent = Field(default=None, description="The operator's app that registered it.")
    created_at: str
    disabled_at: str | Absent = None
    confirmed_at: str | Absent = Field(
        default=None, description="When an operator's account was confirmed as another person's."
    )
    confirmed_by: str | Absent = Field(
        default=None, description="The operator's app that confirmed it, or `server`."
    )


class EndedReply(AppReply, remaining_accounts.LeftMembers):
    """An app that was disabled; of an operator also the accounts that stay active."""


class AppWithKeyReply(AppReply):
    """An app and its new API key, which is shown once."""

    api_key: str


class RotatedReply(AppWithKeyReply, remaining_accounts.LeftMembers):
    """The same; the holder of an operator's old key may know keys of apps that it registered."""


class AppsReply(ReplyModel):
    """All apps of the tenant, oldest first."""

    apps: list[AppReply]
    damaged: list[str] = Field(default=[], description=DAMAGED)


@dataclass(frozen=True)
class AccountChange:
    """A change to an account: the operator who makes it, and their request."""

    context: Context
    operator: ApiKey
    request_id: str

    def record(self, act: str, app: str, detail: dict[str, Any]) -> Record:
        """Return the audit record of this change."""
        at = int(self.context.clock() * 1000)
        return Record(
            id=new_receipt_id(at),
            tenant=self.operator.tenant,
            kind="app",
            at=at,
            app=app,
            actor=self.operator.app,
            act=act,
            detail=detail,
            request_id=self.request_id,
        )

    async def target(self, request: Request, act: Act) -> Registered:
        """Return the app that the path names, if the operator may do this to it."""
        ident = str(request.path_params["id"])
        apps = self.context.store.apps
        find = apps.find_to_end if act == "disable" else apps.find
        found = await find(self.operator.tenant, ident)
        if found is None:
            raise ControlError("not_found", f"there is no app {shown(ident)}")
        accounts = await apps.accounts(self.operator.app, ident)
        target = PermissionTarget(
            kind_of(found.role),
            ident,
            owner=found.app.owner,
            covers=found.covers,
            confirmed=found.app.confirmed_at is not None,
            outside=account_lines.outside(accounts, self.operator.app, ident),
        )
        permissions.check(self.operator, act, target)
        return found


def kind_of(role: Role) -> Kind:
    """Return the kind of account, in the table of permissions, of an app with this role."""
    return "agent's app" if role == "agent" else role


@route(
    "POST",
    "/v1/apps",
    ("operator",),
    AppWithKeyReply,
    accepts=AppRequest,
    headers=(openapi.REPEAT_KEY,),
    refuses=(409,),
)
async def post_app(context: Context, request: Request, caller: ApiKey) -> AppWithKeyReply:
    """Register an app; its API key is shown only once."""
    acting = AccountChange(context, caller, request.state.request_id)
    message = messages.read(AppRequest, await body.read(request))
    covers = tuple(sorted(set(message.covers or ())))
    operator = acting.operator
    target = PermissionTarget(kind_of(message.role), "", covers=covers)
    permissions.check(operator, "register", target)
    if message.role == "operator":
        await _check_line(context, operator)
    repeat = RepeatedRequest.of(request, operator)
    try:
        issued = credentials.issue(
            message.name,
            message.role,
            operator.tenant,
            context.clock(),
            covers=covers,
            owner=operator.app,
            repeat=repeat,
        )
    except ConfigurationError as wrong:
        raise invalid(wrong.setting, str(wrong)) from wrong
    registered = Registered(issued.app, message.role, covers)
    if repeat is not None:
        found = await context.store.apps.find(operator.tenant, issued.app.id)
        if found is not None:
            await _check_same(context, found, registered, issued.key)
            return AppWithKeyReply(**_members(found), api_key=issued.text.reveal())
    receipt = acting.record("create", issued.app.id, _detail(registered))
    most = MAX_APPS if permissions.covers_every(operator) else MAX_APPS - RESERVED
    if not await context.store.apps.create(issued.app, issued.key, most, receipt, held=operator):
        raise InvalidRequest(f"the tenant has {most} apps, the limit for your API key")
    return AppWithKeyReply(**_members(registered), api_key=issued.text.reveal())


@route("GET", "/v1/apps", ("operator",), AppsReply)
async def get_apps(context: Context, request: Request, caller: ApiKey) -> AppsReply:
    """The registered apps."""
    found = await context.store.apps.all(caller.tenant)
    return AppsReply(
        apps=[AppReply(**_members(each)) for each in found.found], damaged=list(found.damaged)
    )


@route("POST", "/v1/apps/{id}/disable", ("operator",), EndedReply, refuses=(400,))
async def post_disable(context: Context, request: Request, caller: ApiKey) -> EndedReply:
    """Disable an app: its API key is rejected from now on."""
    acting = AccountChange(context, caller, request.state.request_id)
    if str(request.path_params["id"]) == acting.operator.app:
        raise InvalidRequest(
            "your API key is of this app; another operator can disable it", fields=("id",)
        )
    found = await acting.target(request, "disable")
    receipt = acting.record("disable", found.app.id, _detail(found))
    try:
        await context.store.apps.disable(found.app.tenant, found.app.id, receipt)
    except LastOperator as last:
        raise invalid("id", str(last)) from last
    behind = await remaining_accounts.members(context, found.app.tenant, found.app.id, found.role)
    after = await context.store.apps.find_to_end(found.app.tenant, found.app.id)
    assert after is not None, "apps are never removed"
    return EndedReply(**_members(after), **behind)


@route("POST", "/v1/apps/{id}/confirm", ("operator",), AppReply, refuses=(400,))
async def post_confirm(context: Context, request: Request, caller: ApiKey) -> AppReply:
    """Confirm that an operator's account belongs to another person than its owner's."""
    acting = AccountChange(context, caller, request.state.request_id)
    found = await acting.target(request, "confirm")
    if found.app.owner is None:
        message = "the server made that account, so it needs no confirmation"
        raise InvalidRequest(message, fields=("id",))
    if found.disabled_at is not None:
        raise InvalidRequest("that app is disabled; register another", fields=("id",))
    receipt = acting.record("confirm", found.app.id, _detail(found))
    by = acting.operator.app
    try:
        await context.store.apps.confirm(
            found.app.tenant, found.app.id, by, receipt, held=acting.operator
        )
    except KeyShown as shown_:
        raise invalid("id", str(shown_)) from shown_
    return AppReply(**_members(await _after(context, found)))


async def _after(context: Context, found: Registered) -> Registered:
    """Return the app as it is now."""
    after = await context.store.apps.find(found.app.tenant, found.app.id)
    assert after is not None, "apps are never removed"
    return after


@route(
    "POST",
    "/v1/apps/{id}/rotate",
    ("operator",),
    RotatedReply,
    headers=(openapi.REPEAT_KEY,),
    refuses=(400,),
)
async def post_rotate(context: Context, request: Request, caller: ApiKey) -> RotatedReply:
    """Give an app a new API key; the old one becomes invalid at once."""
    acting = AccountChange(context, caller, request.state.request_id)
    # The holder of the new key has the same rights as the holder of the old one.
    found = await acting.target(request, "rotate")
    own = found.app.id == acting.operator.app
    shown_to = None if own else acting.operator.app
    repeat = RepeatedRequest.of(request, acting.operator)
    key, text = credentials.new_key(
        found.app, found.role, found.covers, shown_to=shown_to, repeat=repeat
    )
    if repeat is not None and found.disabled_at is None and await context.store.apps.holds(key):
        return await _rotated(context, found, text.reveal())  # already done; the reply was lost
    receipt = acting.record("rotate", found.app.id, _detail(found))
    if not await context.store.apps.rotate(
        key, receipt, by=acting.operator.app, held=acting.operator
    ):
        message = "that app is disabled, or was changed by another operator; register another"
        raise InvalidRequest(message, fields=("id",))
    return await _rotated(context, await _after(context, found), text.reveal())


async def _rotated(context: Context, found: Registered, text: str) -> RotatedReply:
    behind = await remaining_accounts.members(context, found.app.tenant, found.app.id, found.role)
    return RotatedReply(**_members(found), api_key=text, **behind)


async def _check_line(context: Context, operator: ApiKey) -> None:
    """Raise InvalidRequest if the line of operators would become too long to check."""
    accounts = await context.store.apps.accounts(operator.app)
    if len(account_lines.makers(accounts, operator.app)) + 2 > account_lines.MAX_LINE:
        raise InvalidRequest(
            "a line of operators who registered each other has at most "
            f"{account_lines.MAX_LINE} accounts: an operator who is higher up in it must "
            "register this one"
        )


async def _check_same(context: Context, found: Registered, asked: Registered, key: ApiKey) -> None:
    """Reject an idempotency key that made another app, or one whose API key is invalid by now."""
    same = (found.app.name, found.role, found.covers) == (asked.app.name, asked.role, asked.covers)
    if not same or found.disabled_at is not None or not await context.store.apps.holds(key):
        raise ControlError(
            "idempotency_conflict",
            f"this Idempotency-Key was used for the app {found.app.id}, which differs from this "
            "request or has a new API key by now; use a new Idempotency-Key",
            fields=("Idempotency-Key",),
        )


def _detail(registered: Registered) -> dict[str, Any]:
    detail: dict[str, Any] = {"name": registered.app.name, "role": registered.role}
    return detail | ({"covers": list(registered.covers)} if registered.covers else {})


def _members(registered: Registered) -> dict[str, Any]:
    app, disabled_at = registered.app, registered.disabled_at
    return {
        "id": app.id,
        "name": app.name,
        "role": registered.role,
        "covers": list(registered.covers),
        "owner": app.owner,
        "created_at": iso(app.created_at),
        "disabled_at": None if disabled_at is None else iso(disabled_at),
        "confirmed_at": None if app.confirmed_at is None else iso(app.confirmed_at),
        "confirmed_by": app.confirmed_by,
    }


ROUTES: Final = (post_app, get_apps, post_disable, post_rotate, post_confirm)
