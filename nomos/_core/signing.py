"""Asking the binary to sign one use of authority, and reading its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from nomos._core.effects import Flow, Sign, perform
from nomos._protocol import Answer, Invocation, Invoke, Refused, Request, Signed
from nomos.errors import SignerError
from nomos.models import Chain, Did

BACKDATED: Final = 60
"""Seconds by which `iat` lies in the past, so that a service with a slower clock accepts it."""

FRESH_SECONDS: Final = 60
"""How long an invocation made by `Grant.headers` lives."""

MAX_INVOCATION: Final = 3660

_DID: Final[TypeAdapter[str]] = TypeAdapter(Did)


@dataclass(frozen=True)
class InvocationSpec:
    """One use of a chain at a service: `args` are the call's, its `resource` among them."""

    agent: str
    issuer: str
    audience: str
    chain: Chain
    command: str
    args: Mapping[str, Any]


def sign_invocation(act: InvocationSpec, *, now: int, until: int, nonce: str) -> Flow[str]:
    """Sign one use of authority, from a minute ago `until` it ends."""
    issued = max(now - BACKDATED, 0)
    payload = Invocation(
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
    answer = yield from ask(Invoke(key=act.agent, payload=payload))
    if not isinstance(answer, Signed):
        raise SignerError("the signing binary gave another answer than was asked for")
    return answer.jwt


def ask(request: Request) -> Flow[Answer]:
    """Ask the binary; a refusal raises `SignerError` with its code."""
    answer = yield from perform(Sign(request))
    if isinstance(answer, Refused):
        raise SignerError(
            f"the signing binary refused: {answer.message}", code=answer.code, hop=answer.hop
        )
    return answer


def is_did(value: object) -> bool:
    try:
        _DID.validate_python(value)
    except ValidationError:
        return False
    return True
