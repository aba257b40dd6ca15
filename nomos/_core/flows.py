"""What the guards do, written once for both of them.

    identify    the agent's key → its DID
    authorize   question → decision → (on allow) a signed invocation → grant
    invoke      a grant → a fresh invocation, for `Grant.headers`

Times, nonces and jitter are arguments, so a flow is a function of what it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from nomos._core import reads, replies, requests, retry
from nomos._core.effects import Flow, HttpReply, Sign, perform
from nomos._core.tokens import approved, peek
from nomos._wire import Answer, Invocation, Invoke, LoadKey, LoadKeyAnswer, Refused, Request, Signed
from nomos.errors import (
    ConfigurationError,
    ControlPlaneError,
    ExpiredChain,
    ServerError,
    SignerError,
    Unintelligible,
    Unreachable,
)
from nomos.models import Chain, Did, Explanation, GrantBase, Question, Secret

BACKDATED: Final = 60
"""Seconds by which `iat` lies in the past, so that a service with a slower clock accepts it."""

FRESH_SECONDS: Final = 60
"""How long an invocation made by `Grant.headers` lives."""

MAX_INVOCATION: Final = 3660

_DID: Final[TypeAdapter[str]] = TypeAdapter(Did)


@dataclass(frozen=True)
class Ask:
    """One call of `authorize`: the question and what makes this call distinct from others.

    `now` is when it was made (Unix seconds); `held` an earlier allow of the same question,
    for when the control plane cannot be asked.
    """

    question: Question
    agent: str
    idempotency_key: str
    nonce: str
    jitter: Sequence[float]
    now: float
    held: GrantBase | None = None


def identify(seed: Secret) -> Flow[str]:
    """Give the agent's key to the binary and return its DID."""
    answer = yield from ask(LoadKey(seed=seed.reveal()))
    if not isinstance(answer, LoadKeyAnswer):
        raise SignerError("the signing binary gave another answer than was asked for")
    return answer.key


def authorize(call: Ask) -> Flow[GrantBase]:
    """Ask the control plane; on allow, sign the invocation that the PDP will take."""
    request = requests.authorize(
        call.question, agent_did=call.agent, idempotency_key=call.idempotency_key
    )
    reply = yield from retry.send(request, retry.delays(call.jitter))
    answer = replies.decision(reply)
    match answer:
        case replies.Allowed():
            return (yield from _granted(call, answer, reply))
        case replies.Asked():
            return replace(
                _base(call, answer),
                decision="requires_step_up",
                reason=answer.reason,
                explanation=answer.explanation,
                approval_envelope_id=answer.approval_envelope_id,
                approval_url=answer.approval_url,
                expires_at=answer.expires_at,
            )
    return replace(_base(call, answer), reason=answer.reason, explanation=answer.explanation)


def authorize_or_degrade(call: Ask) -> Flow[GrantBase]:
    """`authorize` for `failure_mode="open"`: a read goes on when nobody can be asked.

    A refusal stays a refusal; so does anything wrong with the question or the API key.
    """
    try:
        return (yield from authorize(call))
    except (Unreachable, ServerError, Unintelligible, SignerError) as trouble:
        if not reads.is_read(call.question.command):
            raise
        return (yield from _degraded(call, trouble))


def invoke(grant: GrantBase, *, args: dict[str, Any] | None, now: float, nonce: str) -> Flow[str]:
    """Sign a fresh invocation of a grant's chain; raises `Denied` if the grant does not allow."""
    grant.require()
    if not grant.chain or grant.issuer is None or grant.agent is None or grant.audience is None:
        raise ConfigurationError(
            "this grant holds no delegation to sign with: it was given without a control plane "
            "(degraded) or came from elsewhere; call authorize again",
            setting="grant",
        )
    server_now = int(now + grant.clock_offset)
    if _unix(grant.expires_at) <= server_now:
        raise ExpiredChain(
            f"this grant of {grant.command} expired at {grant.expires_at}: call authorize again",
            code="expired",
        )
    issued = server_now - BACKDATED
    expires = min(server_now + FRESH_SECONDS, _unix(grant.expires_at))
    signed = yield from _sign(grant, args=args, issued=issued, expires=expires, nonce=nonce)
    return signed.jwt


def ask(request: Request) -> Flow[Answer]:
    """Ask the binary; a refusal raises `SignerError` with its code."""
    answer = yield from perform(Sign(request))
    if isinstance(answer, Refused):
        raise SignerError(
            f"the signing binary refused: {answer.message}", code=answer.code, hop=answer.hop
        )
    return answer


def _granted(call: Ask, answer: replies.Allowed, reply: HttpReply) -> Flow[GrantBase]:
    root, last = peek(answer.chain[0]), peek(answer.chain[-1])
    if last.get("aud") != call.agent or not _is_did(root.get("iss")):
        raise Unintelligible(
            "the control plane answered allow with a delegation for another key; "
            "nothing was signed",
            status=reply.status,
            request_id=replies.request_id(reply),
        )
    server_now = answer.server_time.timestamp() if answer.server_time else reply.at
    grant = replace(
        _base(call, answer),
        decision="allow",
        resource=answer.resource,
        args=answer.args,
        expires_at=answer.expires_at,
        audience=answer.audience,
        chain=Chain(answer.chain),
        issuer=root["iss"],
        clock_offset=server_now - reply.at,
    )
    issued = int(server_now) - BACKDATED
    signed = yield from _sign(
        grant, args=answer.args, issued=issued, expires=_unix(answer.expires_at), nonce=call.nonce
    )
    return replace(grant, ucan=signed.jwt)


def _degraded(call: Ask, trouble: ControlPlaneError | SignerError) -> Flow[GrantBase]:
    held = call.held
    grant = GrantBase(
        decision="allow",
        command=call.question.command,
        resource=dict(call.question.resource),
        agent=call.agent,
        degraded=True,
        explanation=Explanation(message=f"not asked: {type(trouble).__name__}: {trouble}"),
    )
    if held is None or not held.chain or _unix(held.expires_at) <= call.now + held.clock_offset:
        return grant
    if approved(held.chain):
        return grant
    grant = replace(held, ucan=None, degraded=True, explanation=grant.explanation)
    try:
        jwt = yield from invoke(grant, args=held.args, now=call.now, nonce=call.nonce)
    except SignerError:
        return grant
    return replace(grant, ucan=jwt)


def _base(call: Ask, answer: replies.Reply) -> GrantBase:
    return GrantBase(
        decision="deny",
        command=call.question.command,
        resource=dict(call.question.resource),
        args=dict(call.question.args) if call.question.args is not None else None,
        receipt_id=answer.receipt_id,
        agent=call.agent,
    )


def _sign(
    grant: GrantBase, *, args: dict[str, Any] | None, issued: int, expires: int, nonce: str
) -> Flow[Signed]:
    assert grant.agent is not None and grant.issuer is not None and grant.audience is not None
    payload = Invocation(
        iss=grant.agent,
        aud=grant.audience,
        sub=grant.issuer,
        cmd=grant.command,
        args={**(args or {}), "resource": grant.resource},
        nonce=nonce,
        iat=max(issued, 0),
        exp=min(expires, issued + MAX_INVOCATION),
        prf=list(grant.chain),
    )
    answer = yield from ask(Invoke(key=grant.agent, payload=payload))
    if not isinstance(answer, Signed):
        raise SignerError("the signing binary gave another answer than was asked for")
    return answer


def _is_did(value: object) -> bool:
    try:
        _DID.validate_python(value)
    except ValidationError:
        return False
    return True


def _unix(moment: datetime | None) -> int:
    return int(moment.astimezone(UTC).timestamp()) if moment is not None else 0
