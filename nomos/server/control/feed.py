"""The feed of revocations that services follow by long polling.

It returns the rows of the tenant's log after the last one that a service knows, and a checkpoint
over the end of the log. A nonce in the request is returned inside the checkpoint: it proves that
the reply was made after the request, whatever the clocks say. A reply comes within two seconds even
if nothing changed, so a missing reply means that the connection is lost.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, Final

from starlette.requests import Request

from nomos._times import iso
from nomos.audit.chain import Head
from nomos.errors import SignerError
from nomos.models import Did
from nomos.server.control.checkpoints import sign
from nomos.server.control.context import Context
from nomos.server.control.errors import unavailable
from nomos.server.control.feed_subscribers import Checkpointed
from nomos.server.control.messages import ReplyModel
from nomos.server.control.route import route
from nomos.server.domain.accounts import ROLES, ApiKey
from nomos.server.http.query import Number, Query, Word
from nomos.server.storage.revocations import Page

PAGE: Final = 1000
MAX_WAIT: Final = 2  # the heartbeat of the feed, in seconds

_QUERY: Final = Query(
    Number(
        "since",
        default=0,
        description="The number of the last row that the caller has; by default 0.",
    ),
    Number("wait", most=MAX_WAIT, default=0, description="Seconds to wait for a new row."),
    Word(
        "nonce",
        r"[A-Za-z0-9._-]{1,64}",
        "1 to 64 letters, digits, dots, dashes or underscores",
        description="Returned inside the checkpoint.",
    ),
)

log = logging.getLogger("nomos.server")


class FeedRow(ReplyModel):
    """A row of the log as it was hashed."""

    row: dict[str, Any]
    hash: str


class FeedHead(ReplyModel):
    """The last row of the log."""

    seq: int
    hash: str


class FeedReply(ReplyModel):
    """The rows after `since`; `more` is true if there are further ones before the head."""

    tenant: str
    issuer: Did
    entries: list[FeedRow]
    head: FeedHead
    more: bool
    checkpoint: str
    server_time: str


@route("GET", "/v1/revocations", ROLES, FeedReply, query=_QUERY)
async def get_revocations(context: Context, request: Request, caller: ApiKey) -> FeedReply:
    """Revocations, numbered and signed; the reply comes within two seconds."""
    query = _QUERY.read(request.scope["query_string"])
    tenant = caller.tenant
    with context.followers.admit(caller.app) as room:
        page = await _page(context, tenant, query["since"], query["wait"] if room else 0)
    issuer = context.issuers[tenant]
    return FeedReply(
        tenant=tenant,
        issuer=issuer,
        entries=[FeedRow(row=json.loads(link.text), hash=link.hash) for link in page.links],
        head=FeedHead(seq=page.head.seq, hash=page.head.hash),
        more=bool(page.links) and page.links[-1].seq < page.head.seq,
        checkpoint=await _checkpoint(context, tenant, issuer, page.head, query["nonce"]),
        server_time=iso(context.clock()),
    )


def topic(tenant: str) -> str:
    """Return the topic that is notified of every revocation of a tenant."""
    return f"revocations:{tenant}"


async def _page(context: Context, tenant: str, since: int, seconds: float) -> Page:
    """Read the rows after `since`; wait until there are some or time is up.

    A new issuer key ends the wait, too: followers must know it before they receive its tokens.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    signer = context.issuers[tenant]
    while True:
        # Subscribe before reading, or a revocation between the two would be missed.
        notified = asyncio.create_task(
            context.notifier.wait(topic(tenant), max(0, until - loop.time()))
        )
        try:
            page = await context.store.feed.page(tenant, since, PAGE)
            over = loop.time() >= until or context.notifier.stopped
            if page.links or over or context.issuers[tenant] != signer:
                return page
            await notified
        finally:
            notified.cancel()


async def _checkpoint(
    context: Context, tenant: str, issuer: str, head: Head, nonce: str | None
) -> str:
    now = context.clock()
    if nonce is None:
        kept = context.followers.signed(tenant, issuer, head, now)
        if kept is not None:
            return kept
    try:
        token = await sign(context, tenant, head, issuer=issuer, nonce=nonce, log="revocations")
    except SignerError as failure:
        log.error("the feed cannot be signed: %s", failure)  # noqa: TRY400
        raise unavailable("the feed cannot be signed at the moment; ask again") from failure
    if nonce is None:
        context.followers.keep(tenant, Checkpointed(head, issuer, token, now))
    return token


ROUTES: Final = (get_revocations,)
