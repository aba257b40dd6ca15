"""One question, one decision, one receipt, and for an allow one delegation.

The order: make the question canonical, decide, sign, write the receipt and the answer that a
repetition will get, and only when both are on the disk answer. A failure anywhere leaves no
receipt and no token behind, and never becomes an allow.

A question with an idempotency key is asked once. Its repetition gets the stored answer, unless
that was an allow which has since expired or been revoked: then it gets a deny that says so. It is
not decided anew, for the caller of a repeated question believes that it is the first.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from nomos._wire import Delegate, Invoke, Refused, Request, Signed
from nomos.audit.record import Record
from nomos.errors import ConfigurationError, InvalidRequest, SignerError
from nomos.models import DenyReason
from nomos.server.control import decision, messages, question, tokens
from nomos.server.control.body import canonical
from nomos.server.control.decision import Reply
from nomos.server.control.errors import Refusal, unavailable
from nomos.server.control.ports import Ports
from nomos.server.control.question import Asked
from nomos.server.redact import redact
from nomos.server.storage.apps import ApiKey
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.idempotency import StoredAnswer
from nomos.server.storage.records import new_receipt_id

log = logging.getLogger("nomos.server")

CALLERS_FAULT: Final = frozenset({"invalid_request", "malformed_ucan", "too_large"})
"""What the binary says of a payload that no token can hold: asking again will not help."""


@dataclass(frozen=True)
class Asking:
    """A question with who asks it, and how a repetition of it is recognised."""

    asked: Asked
    caller: ApiKey
    request_id: str
    key: str | None
    request_hash: str


async def authorize(
    ports: Ports, caller: ApiKey, body: Mapping[str, Any], *, key: str | None, request_id: str
) -> Reply:
    """Answer one question. Raises InvalidRequest for a wrong one, Refusal when it cannot."""
    message = messages.authorize_request(body)
    asked = question.read(message, ports.catalog, ports.pdp_did, ports.bundle.hash)
    digest = hashlib.sha256(canonical(body)).hexdigest()
    asking = Asking(asked, caller, request_id, key, digest)
    try:
        if key is None:
            return await _answer(ports, asking)
        async with ports.turn(caller.app, key):
            stored = await ports.store.answered(caller.app, key)
            if stored is not None:
                return await _repeat(ports, asking, stored)
            return await _answer(ports, asking)
    except (SignerError, StorageUnavailable, ConfigurationError) as failure:
        log.exception("request %s: nothing was decided", request_id)
        raise unavailable("the server cannot decide at the moment; ask again") from failure


async def _answer(ports: Ports, asking: Asking) -> Reply:
    """Decide, sign, record, and then answer."""
    asked, caller = asking.asked, asking.caller
    at = int(ports.clock() * 1000)
    agent = asked.agent or await ports.keys.did(app_key(caller.app))
    rate = ports.rates.count(caller.app, at // 1000)
    ruling = decision.rule(
        ports.bundle, asked, app=caller.app, agent=agent, now=at // 1000, rate=rate
    )
    row = Record(
        id=new_receipt_id(at),
        tenant=caller.tenant,
        kind="decision",
        at=at,
        app=caller.app,
        agent=agent,
        command=asked.command,
        resource=redact(dict(asked.resource)),
        args=None if asked.args is None else redact(dict(asked.args)),
        decision="allow" if ruling.reason is None else "deny",
        reason=ruling.reason,
        policies=ruling.policies,
        bundle=ports.bundle.hash,
        purpose=redact(asked.purpose),
        request_id=asking.request_id,
        status=200,
    )
    if ruling.reason is None:
        signed = await _delegate(ports, asked, row, agent)
        row = replace(row, cid=signed.cid, expires_at=at // 1000 + asked.ttl)
        answer = decision.allow(asked, row.id, ports.pdp_did, signed.jwt, at // 1000 + asked.ttl)
    else:
        answer = decision.deny(row.id, ruling.reason, ruling.policies, ruling.message)
    stored = _stored(asking, row, agent, answer)
    reply = await _complete(ports, asked, stored)
    earlier = await ports.store.record_answer(row, stored if asking.key is not None else None)
    return reply if earlier is None else await _repeat(ports, asking, earlier)


def app_key(app: str) -> str:
    """The name of the key that stands in for the agents of `app` which have none."""
    return f"app-{app}"


async def _delegate(ports: Ports, asked: Asked, row: Record, agent: str) -> Signed:
    issuer = ports.issuers[row.tenant]
    payload = tokens.delegation(
        asked,
        issuer=issuer,
        agent=agent,
        receipt=row,
        nonce=secrets.token_urlsafe(16),
    )
    try:
        return await _sign(ports, Delegate(key=issuer, payload=payload))
    except SignerError as refused:
        if refused.code == "invalid_key":
            # A DID may be well written and still name no point of the curve.
            message = "agentDid: names no usable Ed25519 key"
            raise InvalidRequest(message, fields=("agentDid",)) from refused
        raise


async def _sign(ports: Ports, request: Request) -> Signed:
    answer = await ports.signer.ask(request)
    if isinstance(answer, Signed):
        return answer
    code = answer.code if isinstance(answer, Refused) else None
    if isinstance(answer, Refused) and code in CALLERS_FAULT:
        raise InvalidRequest(f"the question cannot be signed: {answer.message}")
    raise SignerError(f"the signing binary refused to sign: {code}", code=code)


def _stored(asking: Asking, row: Record, agent: str, answer: Reply) -> StoredAnswer:
    return StoredAnswer(
        tenant=row.tenant,
        app=asking.caller.app,
        key=asking.key or "",
        request_hash=asking.request_hash,
        receipt_id=row.id,
        agent=agent,
        answer=answer,
        created_at=row.at // 1000,
        cid=row.cid,
        expires_at=row.expires_at,
    )


async def _complete(ports: Ports, asked: Asked, stored: StoredAnswer) -> Reply:
    """Add what is not kept: the time, and the invocation for a caller without a key.

    The receipt's id is the invocation's nonce, so signing it again gives the same token.
    """
    reply = {**stored.answer, "serverTime": decision.iso(ports.clock())}
    if asked.agent is None and stored.expires_at is not None and "chain" in stored.answer:
        agent = await ports.keys.did(app_key(stored.app))
        payload = tokens.invocation(
            asked,
            issuer=ports.issuers[stored.tenant],
            agent=agent,
            audience=ports.pdp_did,
            chain=stored.answer["chain"],
            expires=stored.expires_at,
            nonce=stored.receipt_id,
        )
        reply["ucan"] = (await _sign(ports, Invoke(key=agent, payload=payload))).jwt
    return reply


async def _repeat(ports: Ports, asking: Asking, stored: StoredAnswer) -> Reply:
    """Answer as before, unless what was allowed then is not allowed any more."""
    if stored.request_hash != asking.request_hash:
        message = "this Idempotency-Key was used for another question; use a new key for this one"
        raise Refusal("idempotency_conflict", message, fields=("Idempotency-Key",))
    over = await _over(ports, stored)
    if over is not None:
        message = f"what this Idempotency-Key was allowed is {over}; use a new key to ask again"
        stored = replace(stored, answer=decision.deny(stored.receipt_id, over, (), message))
    return await _complete(ports, asking.asked, stored)


async def _over(ports: Ports, stored: StoredAnswer) -> DenyReason | None:
    """Why a stored allow holds no longer, None if it does."""
    if stored.cid is None or stored.expires_at is None:
        return None
    if stored.expires_at <= ports.clock():
        return "expired"
    ids = (stored.cid, stored.agent, ports.issuers[stored.tenant])
    return "revoked" if await ports.store.revoked(ids) else None
