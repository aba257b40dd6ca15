"""Signing of checkpoints over the audit log: on request, and periodically."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nomos._protocol import Checkpoint, Refused, SignCheckpoint, Signed
from nomos.audit.chain import Head, Log
from nomos.errors import SignerError
from nomos.server.control.context import Context
from nomos.server.storage.checkpoints import AUDIT, StoredCheckpoint


async def sign(
    context: Context,
    tenant: str,
    head: Head,
    *,
    issuer: str,
    nonce: str | None = None,
    log: Log = AUDIT,
) -> str:
    """Return a checkpoint over one row of a log of the tenant, signed by the key of `issuer`."""
    payload = Checkpoint(
        iss=issuer,
        log=log,
        tenant=tenant,
        seq=head.seq,
        head=head.hash,
        iat=int(context.clock()),
        nonce=nonce,
    )
    answer = await context.signer.ask(SignCheckpoint(key=issuer, payload=payload))
    if isinstance(answer, Signed):
        return answer.jwt
    code = answer.code if isinstance(answer, Refused) else None
    raise SignerError(f"the signing binary refused to sign a checkpoint: {code}", code=code)


async def sign_head(context: Context, tenant: str, issuer: str) -> tuple[Head, str]:
    """Sign a checkpoint over the last row; store it for exports if it is the row's first.

    `issuer` is read before the head. A key becomes active by a row of the log, so an export that
    has the row signed here also has the key.
    """
    head = await context.store.log.head(tenant)
    token = await sign(context, tenant, head, issuer=issuer)
    if head.seq:
        await context.store.log.keep(
            tenant, StoredCheckpoint(head.seq, token, int(context.clock()))
        )
    return head, token


async def sign_moved(context: Context) -> None:
    """Sign the end of each tenant's log that has grown since its last checkpoint."""
    for tenant in list(context.issuers):
        head = await context.store.log.head(tenant)
        if head.seq > await context.store.log.signed(tenant):
            await sign_head(context, tenant, context.issuers[tenant])


def checkpointing(context: Context, seconds: float) -> Callable[[], Awaitable[None]]:
    """Return a task that signs, every `seconds`, the logs that have grown."""

    async def sign_repeatedly() -> None:
        while True:
            await asyncio.sleep(seconds)
            await sign_moved(context)

    return sign_repeatedly
