"""Routes for services other than the PDP: register, list and remove."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field
from starlette.requests import Request

from nomos._io.urls import INSECURE_HOSTS, checked_url
from nomos._times import iso
from nomos.audit.record import Record
from nomos.errors import ConfigurationError, InvalidRequest
from nomos.models import Did
from nomos.server.control import body, messages
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, invalid, shown
from nomos.server.control.messages import DAMAGED, MessageModel, ReplyModel
from nomos.server.control.route import route
from nomos.server.domain.accounts import ApiKey
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.services import Service

MAX_SERVICES: Final = 64
PDP: Final = "pdp"
"""The name of the control plane's own PDP; it cannot be registered."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class ServiceRequest(MessageModel):
    """A service that verifies tokens itself, such as a standalone PDP."""

    name: Name
    did: Did = Field(description="The audience of tokens for it.")
    url: Annotated[str, Field(max_length=512)] = Field(description="The base URL.")
    decides: bool = Field(
        default=False,
        description="It is a PDP that decides each call by policy, so that grants for it may leave "
        "open what policy reads.",
    )


class ServiceReply(ReplyModel):
    """A registered service."""

    name: str
    did: Did
    url: str
    created_at: str
    decides: bool


class ServicesReply(ReplyModel):
    """All services of the tenant."""

    services: list[ServiceReply]
    damaged: list[str] = Field(default=[], description=DAMAGED)


@route(
    "POST",
    "/v1/services",
    ("operator",),
    ServiceReply,
    accepts=ServiceRequest,
    act=("register", "service"),
)
async def post_service(context: Context, request: Request, caller: ApiKey) -> ServiceReply:
    """Register a service, which can then be the `audience` of grants."""
    message = messages.read(ServiceRequest, await body.read(request))
    _check_url(message.url)
    if message.name == PDP or message.did == context.pdp_did:
        raise invalid("name" if message.name == PDP else "did", "is this server's own PDP")
    if message.did in context.issuers.values():
        raise invalid("did", "is the issuer of this server's own tokens")
    if await context.store.revoked([message.did]):
        raise invalid("did", "was revoked permanently: give the service another key")
    now = context.clock()
    service = Service(
        caller.tenant, message.name, message.did, message.url, int(now), message.decides
    )
    receipt = _record("register_service", service, now, caller, request.state.request_id)
    kept = await context.store.services.add(service, MAX_SERVICES, receipt)
    if kept is None:
        raise InvalidRequest(f"there are {MAX_SERVICES} services, the maximum")
    if isinstance(kept, str):
        raise invalid(kept, "belongs to another service")
    return _reply(kept)


async def register(context: Context, tenant: str, name: str, did: str) -> None:
    """Register the service of the program that this server runs in; it has no URL."""
    now = context.clock()
    service = Service(tenant, name, did, "", int(now))
    if name == PDP or did == context.pdp_did:
        kept: Service | str | None = "name" if name == PDP else "did"
    else:
        receipt = _record("register_service", service, now)
        kept = await context.store.services.add(service, MAX_SERVICES, receipt)
    if not isinstance(kept, Service):
        what = "there are too many" if kept is None else f"its {kept} is another service's"
        raise ConfigurationError(f"service {name}: {what}", setting="services")


@route("GET", "/v1/services", ("operator",), ServicesReply)
async def get_services(context: Context, request: Request, caller: ApiKey) -> ServicesReply:
    """The registered services."""
    found = await context.store.services.all(caller.tenant)
    return ServicesReply(
        services=[_reply(each) for each in found.found], damaged=list(found.damaged)
    )


@route("POST", "/v1/services/{name}/remove", ("operator",), ServiceReply, act=("remove", "service"))
async def post_remove(context: Context, request: Request, caller: ApiKey) -> ServiceReply:
    """Remove a service: it gets no new grants. Its DID can be revoked then."""
    name, now = str(request.path_params["name"]), context.clock()
    removed = await context.store.services.remove(
        caller.tenant,
        name,
        lambda each: _record("remove_service", each, now, caller, request.state.request_id),
    )
    if removed is None:
        raise ControlError("not_found", f"there is no service {shown(name)}")
    return _reply(removed)


def _record(
    act: str,
    service: Service,
    now: float,
    by: ApiKey | None = None,
    request_id: str | None = None,
) -> Record:
    at = int(now * 1000)
    detail: dict[str, Any] = {"name": service.name, "did": service.did, "url": service.url}
    return Record(
        id=new_receipt_id(at),
        tenant=service.tenant,
        kind="app",
        at=at,
        actor=None if by is None else by.app,
        act=act,
        detail=detail if act == "remove_service" else detail | {"decides": service.decides},
        request_id=request_id,
    )


def _reply(service: Service) -> ServiceReply:
    return ServiceReply(
        name=service.name,
        did=service.did,
        url=service.url,
        created_at=iso(service.created_at),
        decides=service.decides,
    )


def _check_url(url: str) -> None:
    """Raise InvalidRequest for a URL that must not be given to agents (`nomos._io.urls`)."""
    try:
        checked_url(url, setting="url")
    except ConfigurationError as wrong:
        raise invalid(
            "url",
            "must be https://host[:port][/path], or http:// on this machine or to a host "
            f"that this server's {INSECURE_HOSTS} names",
        ) from wrong


ROUTES: Final = (post_service, get_services, post_remove)
