"""Routes for swarms: which agents forked which, and what each one did, from the audit log."""

from __future__ import annotations

import asyncio
from typing import Final

from pydantic import Field
from starlette.requests import Request

from nomos._times import iso
from nomos.audit.record import Record
from nomos.audit.swarm import Swarm, SwarmSummary
from nomos.audit.swarm_builder import SwarmsBuilder
from nomos.models import Did
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, shown
from nomos.server.control.messages import ReplyModel
from nomos.server.control.route import route
from nomos.server.domain.accounts import ApiKey
from nomos.server.http.query import Number, Query
from nomos.server.storage.damaged_rows import Listed

MAX_LIMIT: Final = 50
LIMIT: Final = 10
RECORDS: Final = 10_000
"""The maximum number of records read to show one swarm: links, and the latest others."""

RECORDS_IN_LIST: Final = 2_000  # the same when swarms are listed
DAMAGED_ROWS: Final = "Damaged rows of the audit log that belong here."

_LISTED: Final = Query(Number("limit", least=1, most=MAX_LIMIT, default=LIMIT))


class SwarmsReply(ReplyModel):
    """The swarms with recent delegations, latest first."""

    swarms: list[SwarmSummary]
    damaged: list[str] = Field(default=[], description=DAMAGED_ROWS)
    server_time: str


class SwarmReply(Swarm):
    """One swarm with its members; `others` are further swarms that match the same name."""

    others: list[Did] = Field(default_factory=list, description="Their root agents.")
    damaged: list[str] = Field(default=[], description=DAMAGED_ROWS)
    server_time: str


@route("GET", "/v1/swarms", ("operator", "auditor"), SwarmsReply, query=_LISTED)
async def get_swarms(context: Context, request: Request, caller: ApiKey) -> SwarmsReply:
    """Swarms in which agents delegated authority, the latest first."""
    limit = _LISTED.read(request.scope["query_string"])["limit"]
    roots = await context.store.swarms.roots(caller.tenant, limit)
    found = [await _swarm(context, caller.tenant, root, RECORDS_IN_LIST) for root in roots]
    return SwarmsReply(
        swarms=[swarm.summary() for swarm, _ in found],
        damaged=[row for _, damaged in found for row in damaged],
        server_time=iso(context.clock()),
    )


@route("GET", "/v1/swarms/{id}", ("operator", "auditor"), SwarmReply)
async def get_swarm(context: Context, request: Request, caller: ApiKey) -> SwarmReply:
    """Which agents forked which, with which authority, and what each one did.

    The swarm is that of any agent, receipt, cid or label.
    """
    ident: str = request.path_params["id"]
    roots = await context.store.swarms.roots_of(caller.tenant, ident)
    if not roots:
        raise ControlError(
            "not_found",
            f"no agent, receipt, delegation or label {shown(ident)} is in any swarm of the "
            "audit log",
        )
    root, *others = roots
    swarm, damaged = await _swarm(context, caller.tenant, root, RECORDS)
    return SwarmReply(
        **dict(swarm),
        others=others[:MAX_LIMIT],
        damaged=list(damaged),
        server_time=iso(context.clock()),
    )


async def _swarm(
    context: Context, tenant: str, root: str, limit: int
) -> tuple[Swarm, tuple[str, ...]]:
    """Return a swarm, and the rows of it that cannot be read."""
    records = await context.store.swarms.records(tenant, root, limit)
    return await asyncio.to_thread(_gathered, root, records, limit), records.damaged


def _gathered(root: str, records: Listed[Record], limit: int) -> Swarm:
    families = SwarmsBuilder()
    for record in records.found:
        families.add(record)
    own = sum(record.kind != "revocation" for record in records.found)
    return families.swarm(root, complete=own < limit and not records.damaged)


ROUTES: Final = (get_swarms, get_swarm)
