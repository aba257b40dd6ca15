"""Flows of both guards: identify, authorize, invoke.

    identify    loads the agent's key and returns its DID
    authorize   question → decision → (on allow) a signed invocation → grant
    invoke      a grant → a fresh invocation, for `Grant.headers`

Times, nonces and jitter are arguments, so a flow depends only on what it is sent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from nomos._core import read_commands, replies, requests, retry
from nomos._core.answer_check import mismatch
from nomos._core.effects import Flow, HttpReply
from nomos._core.recent_denials import RecentDenials
from nomos._core.requests import AuthorizeCall
from nomos._core.signing import FRESH_SECONDS, InvocationSpec, ask, sign_invocation
from nomos._core.tokens import approved, decode_unverified
from nomos._protocol import LoadKey, LoadKeyAnswer
from nomos._sealed import changed, make
from nomos.errors import (
    ConfigurationError,
    ControlPlaneError,
    ExpiredChain,
    InvalidResponse,
    ServerError,
    SignerError,
    Unreachable,
)
from nomos.models import Explanation, GrantBase, Question, Resource, Secret, chain_of


def identify(seed: Secret) -> Flow[str]:
    """Load the agent's key into the signing binary and return its DID."""
    answer = yield from ask(LoadKey(seed=seed.reveal()))
    if not isinstance(answer, LoadKeyAnswer):
        raise SignerError("unexpected response type from the signing binary")
    return answer.key


def authorize(call: AuthorizeCall) -> Flow[GrantBase]:
    """Ask the control plane; on an allow, sign the invocation for the PDP or service."""
    reply = yield from retry.send(requests.authorize(call), retry.delays(call.jitter))
    answer = replies.decision(reply)
    if isinstance(answer, replies.Allowed):
        return (yield from _grant(call, answer, reply))
    members = _members(call, answer, reply)
    members |= {"reason": answer.reason, "explanation": answer.explanation.value()}
    if isinstance(answer, replies.StepUp):
        members |= {
            "approval_envelope_id": answer.approval_envelope_id,
            "approval_url": answer.approval_url,
            "expires_at": answer.expires_at,
        }
    return make(GrantBase, **members)


def authorize_or_degrade(call: AuthorizeCall) -> Flow[GrantBase]:
    """`authorize` for `failure_mode="open"`: an outage allows reads without a decision.

    A refusal stays a refusal; so does an error about the question or the API key. A child is not
    allowed what its chain does not cover.
    """
    try:
        return (yield from authorize(call))
    except (Unreachable, ServerError, InvalidResponse, SignerError) as trouble:
        if not call.covered:
            raise
        must_be_passable(call.question, trouble, call.refusals)
        return (yield from _degraded(call, trouble))


def must_be_passable(
    question: Question, trouble: ControlPlaneError | SignerError, refusals: RecentDenials | None
) -> None:
    """Raise `trouble` unless `failure_mode="open"` allows this question without a decision."""
    if not read_commands.is_read(question.command):
        raise trouble
    against = None if refusals is None else refusals.against(question)
    if against is not None:
        said = str(trouble)
        end = "" if said.endswith((".", "?")) else "."
        trouble.args = (f"{said}{end} failure_mode='open' does not allow it: {against}",)
        raise trouble


def allow_without_decision(
    question: Question, trouble: ControlPlaneError | SignerError
) -> GrantBase:
    """Return the degraded allow of a read for which no decision could be had."""
    return make(
        GrantBase,
        decision="allow",
        command=question.command,
        resource=dict(question.resource),
        degraded=True,
        explanation=_no_decision(trouble),
    )


def invoke(
    grant: GrantBase,
    *,
    args: dict[str, Any] | None,
    now: float,
    nonce: str,
    command: str | None = None,
    resource: Resource | None = None,
) -> Flow[str]:
    """Sign a fresh invocation of a grant's chain; raise `Denied` if the grant does not allow.

    `command` and `resource` are those of this call, if the grant covers more than one.
    """
    grant.require()
    if not grant.chain or grant.issuer is None or grant.agent is None or grant.audience is None:
        raise ConfigurationError(
            "this grant has no delegation to sign with: it was allowed without a decision "
            "(degraded); call authorize again",
            setting="grant",
        )
    server_now = int(now + grant.clock_offset)
    if _unix(grant.expires_at) <= server_now:
        raise ExpiredChain(
            f"this grant of {grant.command} expired at {grant.expires_at}: call authorize again",
            code="expired",
        )
    act = InvocationSpec(
        agent=grant.agent,
        issuer=grant.issuer,
        audience=grant.audience,
        chain=grant.chain,
        command=command or grant.command,
        args={**_digested(args), "resource": grant.resource if resource is None else resource},
    )
    until = min(server_now + FRESH_SECONDS, _unix(grant.expires_at))
    return (yield from sign_invocation(act, now=server_now, until=until, nonce=nonce))


def _grant(call: AuthorizeCall, answer: replies.Allowed, reply: HttpReply) -> Flow[GrantBase]:
    members = _members(call, answer, reply)
    now = reply.at + members["clock_offset"]
    how = mismatch(call, answer, now)
    if how is not None:
        raise _reply_mismatch(reply, how)
    act = InvocationSpec(
        agent=call.agent,
        issuer=decode_unverified(answer.chain[0])["iss"],
        audience=answer.audience,
        chain=chain_of(answer.chain),
        command=call.question.command,
        args={**(answer.args or {}), "resource": answer.resource},
    )
    members |= {
        "resource": answer.resource,
        "args": answer.args,
        "expires_at": answer.expires_at,
        "audience": answer.audience,
        "chain": act.chain,
        "commands": answer.commands,
        "issuer": act.issuer,
    }
    if not answer.commands:
        until = _unix(answer.expires_at)
        members["ucan"] = yield from sign_invocation(
            act, now=int(now), until=until, nonce=call.nonce
        )
    return make(GrantBase, **members)


def _reply_mismatch(reply: HttpReply, how: str) -> InvalidResponse:
    return InvalidResponse(
        f"the control plane answered allow {how}; nothing was signed",
        status=reply.status,
        request_id=replies.request_id(reply),
    )


def _digested(args: dict[str, Any] | None) -> dict[str, Any]:
    found = requests.digested(args or {})
    return found if isinstance(found, dict) else {}


def _degraded(call: AuthorizeCall, trouble: ControlPlaneError | SignerError) -> Flow[GrantBase]:
    explanation = _no_decision(trouble)
    usable = (held for held in call.held if _is_still_valid(held, call.now))
    held = next(usable, None)
    if held is None:
        return changed(allow_without_decision(call.question, trouble), agent=call.agent)
    grant = changed(held, ucan=None, degraded=True, explanation=explanation)
    if grant.commands:
        return grant
    try:
        jwt = yield from invoke(grant, args=held.args, now=call.now, nonce=call.nonce)
    except SignerError:
        return grant
    return changed(grant, ucan=jwt)


def _no_decision(trouble: Exception) -> Explanation:
    return make(Explanation, message=f"not asked: {type(trouble).__name__}: {trouble}")


def _is_still_valid(held: GrantBase, now: float) -> bool:
    """Whether an earlier allow is unexpired; one with an approval is good for one call only."""
    if not held.chain or _unix(held.expires_at) <= now + held.clock_offset:
        return False
    return not approved(held.chain)


def _members(
    call: AuthorizeCall, answer: replies.DecisionReply, reply: HttpReply
) -> dict[str, Any]:
    """Return the members that the grant of every decision has."""
    server_now = answer.server_time.timestamp() if answer.server_time else reply.at
    question = call.question
    return {
        "decision": answer.decision,
        "command": question.command,
        "resource": dict(question.resource),
        "args": None if question.args is None else dict(question.args),
        "receipt_id": answer.receipt_id,
        "agent": call.agent,
        "clock_offset": server_now - reply.at,
    }


def _unix(moment: datetime | None) -> int:
    return int(moment.astimezone(UTC).timestamp()) if moment is not None else 0
