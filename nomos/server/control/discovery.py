"""Public routes: `/.well-known/nomos` and the health checks."""

from __future__ import annotations

from itertools import chain
from typing import get_args

from starlette.requests import Request

from nomos._limits import MAX_BODY
from nomos._protocol import Hello, HelloAnswer
from nomos._times import iso
from nomos.errors import SignerError
from nomos.models import (
    MAX_ARGS_BYTES,
    MAX_CONTEXT_BYTES,
    MAX_PURPOSE,
    MAX_TTL_SECONDS,
    Decision,
)
from nomos.server.control import keys
from nomos.server.control.context import Context
from nomos.server.control.errors import unavailable
from nomos.server.control.messages import Health, LimitsReply, ServiceInfo, WellKnown
from nomos.server.control.request import MAX_FACTS_BYTES
from nomos.server.control.route import route
from nomos.server.storage.database import StorageUnavailable


@route("GET", "/.well-known/nomos", None, WellKnown, refuses=(503,))
async def well_known(context: Context, request: Request, caller: None) -> WellKnown:
    """The issuer keys, the services that accept their tokens, and the limits."""
    return WellKnown(
        version=context.version,
        api_version=1,
        control_url=context.control_url,
        server_time=iso(context.clock()),
        issuers=keys.states(context),
        keys=[entry for tenant in context.issuers for entry in keys.entries(context, tenant)],
        services=[
            ServiceInfo(name="pdp", did=context.pdp_did, url=context.pdp_url, state="active"),
            *await _registered(context),
        ],
        decisions=list(get_args(Decision)),
        limits=LimitsReply(
            ttl_seconds=MAX_TTL_SECONDS,
            args_bytes=MAX_ARGS_BYTES,
            context_bytes=MAX_CONTEXT_BYTES,
            facts_bytes=MAX_FACTS_BYTES,
            purpose_characters=MAX_PURPOSE,
            chain_depth=context.max_chain_depth,
            body_bytes=MAX_BODY,
        ),
    )


async def _registered(context: Context) -> list[ServiceInfo]:
    found = [(await context.store.services.all(tenant)).found for tenant in context.issuers]
    return [
        ServiceInfo(name=each.name, did=each.did, url=each.url, state="active")
        for each in chain.from_iterable(found)
    ]


@route("GET", "/healthz", None, Health)
async def healthy(context: Context, request: Request, caller: None) -> Health:
    """The process answers."""
    return Health(status="ok")


@route("GET", "/readyz", None, Health, refuses=(503,))
async def ready(context: Context, request: Request, caller: None) -> Health:
    """A decision could be made and stored."""
    try:
        await context.store.ready()
        answer = await context.signer.ask(Hello())
    except StorageUnavailable as failure:
        raise unavailable(f"no decision can be stored: {failure}") from failure
    except SignerError as failure:
        raise unavailable("the server is not ready to decide") from failure
    if not isinstance(answer, HelloAnswer):
        raise unavailable("the server is not ready to decide")
    return Health(status="ready")
