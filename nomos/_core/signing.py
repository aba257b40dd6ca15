"""Flows that have the signing binary sign an invocation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomos._core.effects import Flow, Sign, perform
from nomos._protocol import Answer, Invocation, Invoke, Refused, Request, Signed
from nomos.errors import SignerError
from nomos.models import MAX_TTL_SECONDS, Chain

BACKDATED: Final = 60
"""Seconds by which `iat` is in the past, so that a service with a slower clock accepts it."""

FRESH_SECONDS: Final = 60  # lifetime of an invocation made by `Grant.headers`, in seconds
MAX_INVOCATION: Final = MAX_TTL_SECONDS + BACKDATED
"""The longest lifetime of an invocation, in seconds."""


@dataclass(frozen=True)
class InvocationSpec:
    """One use of a chain at a service; `args` are the call's, with its `resource`."""

    agent: str
    issuer: str
    audience: str
    chain: Chain
    command: str
    args: Mapping[str, Any]


def sign_invocation(act: InvocationSpec, *, now: int, until: int, nonce: str) -> Flow[str]:
    """Sign one invocation, valid from a minute ago `until` its expiry."""
    payload = invocation(act, now=now, until=until, nonce=nonce)
    answer = yield from ask(Invoke(key=act.agent, payload=payload))
    if not isinstance(answer, Signed):
        raise SignerError("unexpected response type from the signing binary")
    return answer.jwt


def sign_verified(
    act: InvocationSpec, *, now: int, until: int, nonce: str, max_depth: int
) -> Flow[str | Refused]:
    """`sign_invocation`, or why a PDP would refuse that token now; one request for both."""
    payload = invocation(act, now=now, until=until, nonce=nonce)
    request = Invoke(key=act.agent, payload=payload, verify_at=now, max_depth=max_depth)
    answer = yield from perform(Sign(request))
    if isinstance(answer, Refused) and answer.hop is not None:
        return answer
    if isinstance(answer, Refused):
        raise _refused(answer)
    if not isinstance(answer, Signed):
        raise SignerError("unexpected response type from the signing binary")
    return answer.jwt


def invocation(act: InvocationSpec, *, now: int, until: int, nonce: str) -> Invocation:
    """Return the payload of one invocation, valid from a minute ago `until` its expiry."""
    issued = max(now - BACKDATED, 0)
    return Invocation(
        iss=act.agent,
        aud=act.audience,
        sub=act.issuer,
        cmd=act.command,
        args=dict(act.args),
        nonce=nonce,
        iat=issued,
        exp=min(until, issued + MAX_INVOCATION),
        prf=list(act.chain),
    )


def ask(request: Request) -> Flow[Answer]:
    """Ask the signing binary; raise `SignerError` with its code if it refuses."""
    answer = yield from perform(Sign(request))
    if isinstance(answer, Refused):
        raise _refused(answer)
    return answer


def _refused(answer: Refused) -> SignerError:
    return SignerError(
        f"the signing binary refused: {answer.message}", code=answer.code, hop=answer.hop
    )
