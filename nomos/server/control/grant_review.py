"""Live grants for services that the active policies would no longer give: list and revoke."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field

from nomos._times import iso
from nomos.audit.record import Record
from nomos.models import Absent, Did
from nomos.policy.bundle import Bundle
from nomos.server.control import feed
from nomos.server.control.context import Context
from nomos.server.control.messages import OpenFieldReply, ReplyModel
from nomos.server.domain import outdated_grants
from nomos.server.domain.outdated_grants import OutdatedIssue, ServiceGrant
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.revocations import RevocationRequest, RevocationRow

MAX_LISTED: Final = 100
"""The maximum number of grants in a reply; all of them are counted, and all are revoked."""

MAX_AT_START: Final = 10_000
"""The maximum number of live grants that a start examines: agents decide how many there are."""

log = logging.getLogger("nomos.server")


class OutdatedGrant(ReplyModel):
    """A grant that a service still accepts, though policy would no longer give it."""

    cid: str = Field(description="What to revoke.")
    receipt_id: str
    agent: Did
    app: str
    audience: Did
    command: str
    resource: dict[str, Any]
    expires_at: str
    policies: list[str] = Field(
        description="Names of the policies that deny it; empty if no policy permits it."
    )
    open: list[OpenFieldReply] | Absent = None
    delegated: bool = Field(
        validation_alias="handedOn",
        serialization_alias="handedOn",
        description="Policy would still give it to the agent, but not to every agent that it may "
        "have been delegated to.",
    )


@dataclass
class OutdatedGrants:
    """The number of outdated grants, the first of them, and the number that was revoked.

    `more` is true if further grants were not examined.
    """

    count: int = 0
    first: list[OutdatedIssue] = field(default_factory=list)
    revoked: int = 0
    more: bool = False


Revoke = Callable[[Sequence[OutdatedIssue]], Awaitable[int]]
"""Revokes these grants; returns how many were not revoked before."""


async def find(
    context: Context, tenant: str, *, revoke: Revoke | None = None, most: int | None = None
) -> OutdatedGrants:
    """Return the live grants of the tenant's services that the active policies would not give.

    They are read in pages, since agents decide how many there are. `revoke` is called with each
    page. About `most` grants are examined; None means all.
    """
    result, examined, last = OutdatedGrants(), 0, None
    while grants := await context.store.service_grants.live(tenant, last):
        if most is not None and examined >= most:
            result.more = True
            break
        found = await asyncio.to_thread(_found, context.bundle, grants, int(context.clock()))
        if revoke is not None:
            result.revoked += await revoke(found)
        result.count += len(found)
        result.first += found[: MAX_LISTED - len(result.first)]
        examined, last = examined + len(grants), grants[-1]
    return result


def _found(bundle: Bundle, grants: Sequence[ServiceGrant], now: int) -> list[OutdatedIssue]:
    return list(filter(None, (outdated_grants.outdated(bundle, each, now) for each in grants)))


async def revoke(
    context: Context, tenant: str, found: Sequence[OutdatedIssue], *, by: str, request_id: str
) -> int:
    """Revoke these grants, each with a receipt; return how many were not revoked before."""
    done = 0
    for each in found:
        wanted = RevocationRequest(tenant, each.grant.cid, "cid", int(context.clock() * 1000))

        def receipt(revoked: RevocationRow, grant: ServiceGrant = each.grant) -> Record:
            return _receipt(grant, revoked, by, request_id)

        revoked = await context.store.feed.revoke(wanted, receipt)
        done += not revoked.already
    if done:
        context.notifier.notify(feed.topic(tenant))
    return done


def _receipt(grant: ServiceGrant, revoked: RevocationRow, by: str, request_id: str) -> Record:
    reason = "the policies that were activated would not give it"
    return Record(
        id=new_receipt_id(revoked.at),
        tenant=grant.tenant,
        kind="revocation",
        at=revoked.at,
        actor=by,
        act="revoke",
        detail={"id": revoked.id, "kind": revoked.kind, "seq": revoked.seq, "reason": reason},
        request_id=request_id,
        cid=grant.cid,
    )


def listed(found: Sequence[OutdatedIssue]) -> list[OutdatedGrant]:
    """Return these as members of a reply."""
    return [
        OutdatedGrant(
            cid=each.grant.cid,
            receipt_id=each.grant.receipt,
            agent=each.grant.agent,
            app=each.grant.app,
            audience=each.grant.audience,
            command=each.command,
            resource=each.resource,
            expires_at=iso(each.grant.expires_at),
            policies=list(each.policies),
            open=[OpenFieldReply(policy=o.policy, field=o.field) for o in each.open] or None,
            delegated=each.delegated,
        )
        for each in found
    ]


async def warn(context: Context, tenant: str) -> None:
    """Log the grants that a start with changed policies leaves at services."""
    found = await find(context, tenant, most=MAX_AT_START)
    if found.count or found.more:
        log.warning(
            "%s%d live grants for services would not be given by the active policies, and services "
            "accept them until they expire. `nomos policy activate VERSION --revoke` lists and "
            "revokes them",
            "at least " if found.more else "",
            found.count,
        )
