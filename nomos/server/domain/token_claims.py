"""What an allow signs. Pure: identifiers, nonces and the time are arguments.

The delegation hands this command, on this resource, to the agent's key. Clocks differ, so both
tokens begin a minute before they were made.

What people approved is signed as one call, and to one service: its exact resource and arguments,
and the approval that it came from, which works once.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nomos._core.answer_check import question_id
from nomos._protocol import Delegation, Invocation
from nomos.audit.record import Record
from nomos.server.domain import closed_grants
from nomos.server.domain.authorization import Evaluation
from nomos.server.domain.decision import PolicyDecision
from nomos.server.domain.delegation import merged
from nomos.server.domain.request import CanonicalRequest

BACKDATED: Final = 60
"""Seconds by which a token's start lies before its making."""

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class ApprovalStamp:
    """By which envelope, and in which roles, people approved a call."""

    id: str
    fingerprint: str
    roles: tuple[str, ...]


def delegation(
    case: Evaluation,
    *,
    issuer: str,
    audience: str,
    receipt: Record,
    nonce: str,
    ruling: PolicyDecision,
    approval: ApprovalStamp | None = None,
) -> Delegation:
    """From `issuer` to the agent, for what was asked and for as long, as `receipt` records.

    It names the service that it is good at. For one that decides nothing by policy it says that it
    is closed, and where policy tells principals apart, that it is not handed on.
    It names the question that it answers, if that had an Idempotency-Key.
    On a chain it takes the place of, it names those delegations, and has their policies too.
    """
    asked, held = case.asked, case.origin.held
    own = statements(asked, exact=approval is not None)
    if asked.service and approval is None:
        chain = held.pol if held else []
        own += closed_grants.statements(case.bundle, asked, [*chain, *asked.pol])
    meta: dict[str, Any] = {
        "resource_constraint": asked.resource,
        "receipt_id": receipt.id,
        "app_id": receipt.app,
        "audience": audience,
        "reads": reads(asked),
        "facts": asked.facts(receipt.bundle or ""),
    }
    if case.key is not None:
        meta["question"] = question_id(case.key)
    lineage = case.origin.lineage(case.agent, case.caller.app)
    if lineage is not None:
        meta["lineage"] = lineage
    if asked.service:
        # What is open is denied before. The claim is what services rely on, so it is not made up.
        meta |= {"closed": True} if ruling.closed else {}
        meta |= {} if ruling.forkable else {"forkable": False}
    if approval is not None:
        meta["approval"] = _approved(approval)
    return Delegation(
        iss=issuer,
        aud=case.agent,
        sub=issuer,
        cmd=asked.command,
        pol=own if held is None else merged([held.pol, own]),
        nonce=nonce,
        nbf=max(0, case.now - BACKDATED, held.starts_at if held else 0),
        exp=case.expires,
        meta=meta,
        prf=list(held.descent.cids) if held else None,
    )


def reads(asked: CanonicalRequest) -> list[str]:
    """The commands of what was asked that only look: a service lets no others be used again."""
    commands = asked.provider.commands
    return [
        command
        for command in asked.commands or (asked.command,)
        if command in commands and commands[command].risk == "read"
    ]


def _approved(approval: ApprovalStamp) -> dict[str, Any]:
    return {
        "id": approval.id,
        "fingerprint": approval.fingerprint,
        "roles": list(approval.roles),
    }


def statements(asked: CanonicalRequest, *, exact: bool = False) -> list[list[Any]]:
    """The policy of the delegation: this command, arguments that were given, statements asked for.

    Of a prefix, the commands that it stands for now.

    A write is bound to exactly its arguments. A read is bound to each that was given, and may
    have others beside them, such as a page number; `exact` binds it and its resource too.
    """
    return [*_named(asked, exact=exact), *asked.pol]


def _named(asked: CanonicalRequest, *, exact: bool) -> list[list[Any]]:
    if asked.commands:
        return [["or", [["==", ".cmd", command] for command in asked.commands]]]
    bound: list[list[Any]] = [["==", ".cmd", asked.command]]
    if exact:
        bound.append(["==", ".resource", dict(asked.resource)])
    if asked.args is None:
        return bound
    if asked.spec is not None and asked.spec.risk == "read" and not exact:
        return bound + [["==", selector(name), asked.args[name]] for name in sorted(asked.args)]
    return [*bound, ["==", ".args", dict(asked.args)]]


def selector(name: str) -> str:
    """Where the argument called `name` is found in a call."""
    return f".args.{name}" if _WORD.fullmatch(name) else f".args[{json.dumps(name)}]"


def invocation(
    asked: CanonicalRequest,
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


def issuer_of(jwt: str) -> str:
    """Who signed a delegation of ours; the key that signs may have changed since."""
    payload = jwt.split(".")[1]
    read = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    issuer: str = read["iss"]
    return issuer
