"""Families of agents as the record shows them: who forked whom, and what each one did."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final

from fastapi import Request
from pydantic import Field

from nomos.audit.record import Record
from nomos.audit.swarm import Swarm, SwarmSummary
from nomos.audit.swarm_builder import SwarmsBuilder
from nomos.errors import InvalidRequest
from nomos.models import Did
from nomos.server.control import openapi
from nomos.server.control.context import Context
from nomos.server.control.errors import ControlError, shown
from nomos.server.control.messages import ReplyModel
from nomos.server.control.route import Route
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.decision import iso
from nomos.server.storage.damaged_rows import Listed

MAX_LIMIT: Final = 50
LIMIT: Final = 10
RECORDS: Final = 10_000
"""Records of a family that are looked through when it is shown: links, and the latest others."""

RECORDS_IN_LIST: Final = 2_000
"""The same when many families are listed."""

DAMAGED_ROWS: Final = "Rows of the audit log that belong here and cannot be read any more."

_NUMBER: Final = re.compile(r"[0-9]{1,4}")


class SwarmsReply(ReplyModel):
    """The families in which something was handed on lately, the latest first."""

    swarms: list[SwarmSummary]
    damaged: list[str] = Field(default=[], description=DAMAGED_ROWS)
    server_time: str


class SwarmReply(Swarm):
    """One family with its members; `others` are families that the same name would be found in."""

    others: list[Did] = Field(default_factory=list, description="Their root agents.")
    damaged: list[str] = Field(default=[], description=DAMAGED_ROWS)
    server_time: str


async def get_swarms(ports: Context, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """List families, without their members."""
    assert caller is not None, "the table gives this route a role"
    limit = _limit(request.query_params.multi_items())
    roots = await ports.store.swarms.roots(caller.tenant, limit)
    found = [await _swarm(ports, caller.tenant, root, RECORDS_IN_LIST) for root in roots]
    reply = SwarmsReply(
        swarms=[swarm.summary() for swarm, _ in found],
        damaged=[row for _, damaged in found for row in damaged],
        server_time=iso(ports.clock()),
    )
    return reply.model_dump(by_alias=True, exclude_none=True)


async def get_swarm(ports: Context, request: Request, caller: ApiKey | None) -> dict[str, Any]:
    """Show the family of an agent, a receipt, a delegation or a label."""
    assert caller is not None, "the table gives this route a role"
    ident: str = request.path_params["id"]
    roots = await ports.store.swarms.roots_of(caller.tenant, ident)
    if not roots:
        raise ControlError(
            "not_found",
            f"no agent, receipt, delegation or label {shown(ident)} is on record in any swarm",
        )
    root, *others = roots
    swarm, damaged = await _swarm(ports, caller.tenant, root, RECORDS)
    reply = SwarmReply(
        **dict(swarm),
        others=others[:MAX_LIMIT],
        damaged=list(damaged),
        server_time=iso(ports.clock()),
    )
    return reply.as_json()


async def _swarm(
    ports: Context, tenant: str, root: str, limit: int
) -> tuple[Swarm, tuple[str, ...]]:
    """A family, and the rows of it that cannot be read."""
    records = await ports.store.swarms.records(tenant, root, limit)
    return await asyncio.to_thread(_gathered, root, records, limit), records.damaged


def _gathered(root: str, records: Listed[Record], limit: int) -> Swarm:
    families = SwarmsBuilder()
    for record in records.found:
        families.add(record)
    own = sum(record.kind != "revocation" for record in records.found)
    return families.swarm(root, complete=own < limit and not records.damaged)


def _limit(query: Sequence[tuple[str, str]]) -> int:
    if not query:
        return LIMIT
    [(name, text), *more] = query
    if name != "limit" or more:
        wrong = more[0][0] if name == "limit" else name
        why = "is given twice" if wrong == "limit" else "is not a parameter of this request"
        raise InvalidRequest(f"{shown(wrong)[1:-1]}: {why}", fields=(wrong,))
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidRequest(f"limit: must be from 1 to {MAX_LIMIT}", fields=("limit",))
    return int(text)


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/v1/swarms",
        ("operator", "auditor"),
        get_swarms,
        SwarmsReply,
        "Families of agents in which authority was handed on, the latest first.",
        headers=(openapi.query("limit", "integer", minimum=1, maximum=MAX_LIMIT, default=LIMIT),),
        refuses=(400, 503),
    ),
    Route(
        "GET",
        "/v1/swarms/{id}",
        ("operator", "auditor"),
        get_swarm,
        SwarmReply,
        "Who forked whom, with what, and what each one did; by any agent, receipt, cid or label.",
        headers=(openapi.in_path("id"),),
        refuses=(404, 503),
    ),
)
