"""Public routes: `/.well-known/nomos` and the health checks."""

from __future__ import annotations

from itertools import chain
from typing import Any, get_args

from starlette.requests import Request

from nomos._limits import MAX_BODY
from nomos._protocol import Hello, HelloAnswer
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
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.decision import iso
from nomos.server.storage.database import StorageUnavailable


async def well_known(ports: Context, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """Return the public keys of this server and its limits."""
    known = WellKnown(
        version=ports.version,
        api_version=1,
        control_url=ports.control_url,
        server_time=iso(ports.clock()),
        issuers=keys.states(ports),
        keys=[entry for tenant in ports.issuers for entry in keys.entries(ports, tenant)],
        services=[
            ServiceInfo(name="pdp", did=ports.pdp_did, url=ports.pdp_url, state="active"),
            *await _registered(ports),
        ],
        decisions=list(get_args(Decision)),
        limits=LimitsReply(
            ttl_seconds=MAX_TTL_SECONDS,
            args_bytes=MAX_ARGS_BYTES,
            context_bytes=MAX_CONTEXT_BYTES,
            facts_bytes=MAX_FACTS_BYTES,
            purpose_characters=MAX_PURPOSE,
            chain_depth=ports.max_chain_depth,
            body_bytes=MAX_BODY,
        ),
    )
    return known.model_dump(by_alias=True, exclude_none=True)


async def _registered(ports: Context) -> list[ServiceInfo]:
    found = [(await ports.store.services.all(tenant)).found for tenant in ports.issuers]
    return [
        ServiceInfo(name=each.name, did=each.did, url=each.url, state="active")
        for each in chain.from_iterable(found)
    ]


async def healthy(ports: Context, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """Report that the process answers, without checking its dependencies."""
    return Health(status="ok").model_dump()


async def ready(ports: Context, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """Report whether a decision could be made and stored now."""
    try:
        await ports.store.ready()
        answer = await ports.signer.ask(Hello())
    except StorageUnavailable as failure:
        raise unavailable(f"no decision can be kept: {failure}") from failure
    except SignerError as failure:
        raise unavailable("the server is not ready to decide") from failure
    if not isinstance(answer, HelloAnswer):
        raise unavailable("the server is not ready to decide")
    return Health(status="ready").model_dump()
