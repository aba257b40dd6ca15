"""What an allow signs. Pure: identifiers, nonces and the time are arguments.

The delegation hands this command, on this resource, to the agent's key. Clocks differ, so both
tokens begin a minute before they were made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from nomos._wire import Delegation, Invocation
from nomos.audit.record import Record
from nomos.server.control.question import Asked

BACKDATED: Final = 60
"""Seconds by which a token's start lies before its making."""

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def delegation(asked: Asked, *, issuer: str, agent: str, receipt: Record, nonce: str) -> Delegation:
    """From `issuer` to `agent`, for what was asked and for as long, as `receipt` records."""
    now = receipt.at // 1000
    return Delegation(
        iss=issuer,
        aud=agent,
        sub=issuer,
        cmd=asked.command,
        pol=statements(asked),
        nonce=nonce,
        nbf=max(0, now - BACKDATED),
        exp=now + asked.ttl,
        meta={
            "resource_constraint": asked.resource,
            "receipt_id": receipt.id,
            "app_id": receipt.app,
            "facts": asked.facts(receipt.bundle or ""),
        },
    )


def statements(asked: Asked) -> list[list[Any]]:
    """The policy of the delegation: this command, and the arguments that were given.

    A write is bound to exactly its arguments. A read is bound to each that was given, and may
    have others beside them, such as a page number.
    """
    bound: list[list[Any]] = [["==", ".cmd", asked.command]]
    if asked.args is None:
        return bound
    if asked.spec is not None and asked.spec.risk == "read":
        return bound + [["==", selector(name), asked.args[name]] for name in sorted(asked.args)]
    return [*bound, ["==", ".args", dict(asked.args)]]


def selector(name: str) -> str:
    """Where the argument called `name` is found in a call."""
    return f".args.{name}" if _WORD.fullmatch(name) else f".args[{json.dumps(name)}]"


def invocation(
    asked: Asked,
    *,
    issuer: str,
    agent: str,
    audience: str,
    chain: list[str],
    expires: int,
    nonce: str,
) -> Invocation:
    """The token that uses the delegation at `audience`, for as long as the delegation lasts."""
    args: Mapping[str, Any] = asked.args or {}
    return Invocation(
        iss=agent,
        aud=audience,
        sub=issuer,
        cmd=asked.command,
        args={"resource": asked.resource, **args},
        nonce=nonce,
        iat=max(0, expires - asked.ttl - BACKDATED),
        exp=expires,
        prf=chain,
    )
