"""Apps: operators register them, give them new keys, and disable them.

An API key is shown when it is made and never again. Nobody can make or take over a key that
answers for roles which their own does not: that would be approving in somebody else's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Request
from pydantic import Field

from nomos.audit.record import Record
from nomos.errors import ConfigurationError, InvalidRequest
from nomos.server.control import body, credentials, messages, openapi
from nomos.server.control.decision import iso
from nomos.server.control.errors import Refusal, shown
from nomos.server.control.messages import Absent, Reply, Wire
from nomos.server.control.ports import Ports
from nomos.server.control.repeats import Repeat
from nomos.server.control.route import Route
from nomos.server.storage.app_store import Registered
from nomos.server.storage.apps import EVERY_ROLE, ApiKey, Role
from nomos.server.storage.records import new_receipt_id

MAX_APPS: Final = 10_000
MAX_COVERS: Final = 32

Covered = Annotated[str, Field(pattern=r"^[^\x00-\x20\x7f-\x9f*,]{1,64}$|^\*$")]


class AppRequest(Wire):
    """An app to be, with one API key."""

    name: str = Field(description="1 to 100 characters, for people.")
    role: Role
    covers: Annotated[list[Covered], Field(max_length=MAX_COVERS)] | Absent = Field(
        default=None, description="The roles that an operator answers for; `*` for all."
    )


class AppReply(Reply):
    """An app."""

    id: str
    name: str
    role: Role
    covers: list[str]
    owner: str | Absent = Field(default=None, description="The operator's app that made it.")
    created_at: str
    disabled_at: str | Absent = None


class AppWithKeyReply(AppReply):
    """An app and its new API key, which is shown this once."""

    api_key: str


class AppsReply(Reply):
    """All of the tenant's, the oldest first."""

    apps: list[AppReply]


@dataclass(frozen=True)
class Acting:
    """An operator who manages apps, and the request by which they do."""

    ports: Ports
    operator: ApiKey
    request_id: str

    @classmethod
    def by(cls, ports: Ports, request: Request, caller: ApiKey | None) -> Acting:
        assert caller is not None, "the table gives these routes a role"
        return cls(ports, caller, request.state.request_id)

    def record(self, act: str, app: str, detail: dict[str, Any]) -> Record:
        """What the audit log says of this."""
        at = int(self.ports.clock() * 1000)
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

    async def target(self, request: Request) -> Registered:
        """The app that the path names; one that answers for more than the operator is theirs."""
        ident = str(request.path_params["id"])
        found = await self.ports.store.apps.find(self.operator.tenant, ident)
        if found is None:
            raise Refusal("not_found", f"there is no app {shown(ident)}")
        if found.app.id != self.operator.app:
            self.check_covers(found.covers)
        return found

    def check_covers(self, covers: tuple[str, ...]) -> None:
        """Refuse roles that the operator does not answer for themselves."""
        mine = set(self.operator.covers)
        beyond = sorted(set(covers) - mine)
        if beyond and EVERY_ROLE not in mine:
            what = "every role" if EVERY_ROLE in beyond else ", ".join(beyond)
            raise Refusal(
                "forbidden",
                f"that key answers for {what}, and yours does not: an operator who covers "
                "as much can do this",
            )


async def post_app(ports: Ports, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """Register an app that is the operator's."""
    acting = Acting.by(ports, request, caller)
    message = messages.read(AppRequest, await body.read(request))
    covers = tuple(sorted(set(message.covers or ())))
    acting.check_covers(covers)
    operator = acting.operator
    repeat = Repeat.of(request, operator)
    try:
        issued = credentials.issue(
            message.name,
            message.role,
            operator.tenant,
            ports.clock(),
            covers=covers,
            owner=operator.app,
            repeat=repeat,
        )
    except ConfigurationError as wrong:
        raise InvalidRequest(f"{wrong.setting}: {wrong}", fields=(wrong.setting,)) from wrong
    registered = Registered(issued.app, message.role, covers)
    if repeat is not None:
        found = await ports.store.apps.find(operator.tenant, issued.app.id)
        if found is not None:
            await _check_same(ports, found, registered, issued.key)
            return _with_key(found, issued.text.reveal())
    receipt = acting.record("create", issued.app.id, _detail(registered))
    if not await ports.store.apps.create(issued.app, issued.key, MAX_APPS, receipt):
        raise InvalidRequest(f"there are {MAX_APPS} apps, which is the most")
    return _with_key(registered, issued.text.reveal())


async def get_apps(ports: Ports, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """List them."""
    operator = Acting.by(ports, request, caller).operator
    found = await ports.store.apps.all(operator.tenant)
    return AppsReply(apps=[AppReply(**_members(each)) for each in found]).model_dump(
        by_alias=True, exclude_none=True
    )


async def post_disable(ports: Ports, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """Refuse an app's key from now on; doing it twice is harmless."""
    acting = Acting.by(ports, request, caller)
    found = await acting.target(request)
    if found.app.id == acting.operator.app:
        raise InvalidRequest(
            "this is the app whose key you use; another operator can disable it", fields=("id",)
        )
    receipt = acting.record("disable", found.app.id, _detail(found))
    await ports.store.apps.disable(found.app.tenant, found.app.id, receipt)
    after = await acting.target(request)
    return AppReply(**_members(after)).model_dump(by_alias=True, exclude_none=True)


async def post_rotate(ports: Ports, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """Give an app a new key; the one it had is void at once."""
    acting = Acting.by(ports, request, caller)
    found = await acting.target(request)
    if found.role == "operator" and acting.operator.app not in (found.app.id, found.app.owner):
        # Whoever has the new key can answer in the name of the person who had the old one.
        raise Refusal(
            "forbidden", "an operator's key is replaced by that operator, or by who registered it"
        )
    if found.role == "agent" and found.app.owner not in (None, acting.operator.app):
        # Whoever has the new key asks by it, and may not be the one who answers.
        raise Refusal("forbidden", "an agent's key is replaced by the operator who registered it")
    own = found.app.id == acting.operator.app
    shown_to = None if own else acting.operator.app
    repeat = Repeat.of(request, acting.operator)
    key, text = credentials.new_key(
        found.app, found.role, found.covers, shown_to=shown_to, repeat=repeat
    )
    if repeat is not None and found.disabled_at is None and await ports.store.apps.holds(key):
        return _with_key(found, text.reveal())  # done before, and its reply was lost
    receipt = acting.record("rotate", found.app.id, _detail(found))
    if not await ports.store.apps.rotate(key, receipt, by=acting.operator.app):
        raise InvalidRequest("that app is disabled; register another", fields=("id",))
    return _with_key(found, text.reveal())


async def _check_same(ports: Ports, found: Registered, asked: Registered, key: ApiKey) -> None:
    """Refuse an idempotency key that made another app, or whose API key is void by now."""
    same = (found.app.name, found.role, found.covers) == (asked.app.name, asked.role, asked.covers)
    if not same or found.disabled_at is not None or not await ports.store.apps.holds(key):
        raise Refusal(
            "idempotency_conflict",
            f"this Idempotency-Key made the app {found.app.id}, which is another one than is "
            "wanted now, or has a new key by now; use a new Idempotency-Key",
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
    }


def _with_key(registered: Registered, text: str) -> dict[str, Any]:
    reply = AppWithKeyReply(**_members(registered), api_key=text)
    return reply.model_dump(by_alias=True, exclude_none=True)


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "POST",
        "/v1/apps",
        ("operator",),
        post_app,
        AppWithKeyReply,
        "Register an app; its API key is shown this once.",
        accepts=AppRequest,
        headers=(openapi.REPEAT_KEY,),
        refuses=(400, 409, 413, 503),
    ),
    Route(
        "GET",
        "/v1/apps",
        ("operator",),
        get_apps,
        AppsReply,
        "The registered apps.",
        refuses=(503,),
    ),
    Route(
        "POST",
        "/v1/apps/{id}/disable",
        ("operator",),
        post_disable,
        AppReply,
        "Refuse an app's API key from now on.",
        headers=(openapi.in_path("id"),),
        refuses=(400, 404, 503),
    ),
    Route(
        "POST",
        "/v1/apps/{id}/rotate",
        ("operator",),
        post_rotate,
        AppWithKeyReply,
        "Give an app a new API key; the one it had is void at once.",
        headers=(openapi.in_path("id"), openapi.REPEAT_KEY),
        refuses=(400, 404, 503),
    ),
)
