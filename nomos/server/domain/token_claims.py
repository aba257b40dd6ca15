"""The claims of the delegation and the invocation that an allow signs. Pure.

Identifiers, nonces and the time are arguments. The delegation gives the command, on the resource,
to the agent's key. Both tokens begin a minute before they are made, since clocks differ.

An approved question is signed as one call to one service: its exact resource and arguments, and its
approval, which works once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nomos._core.answer_check import question_id, selector
from nomos._core.signing import BACKDATED
from nomos._core.tokens import decode_unverified
from nomos._protocol import Delegation, Invocation
from nomos.audit.record import Record
from nomos.policy.decision import PolicyDecision
from nomos.server.domain import closed_grants
from nomos.server.domain.authorization import CanonicalRequest, Evaluation
from nomos.server.domain.delegation import merged


@dataclass(frozen=True)
class ApprovalStamp:
    """The approval of a call: its envelope, and the roles that approved."""

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
    policy_decision: PolicyDecision,
    approval: ApprovalStamp | None = None,
) -> Delegation:
    """Return the claims of the delegation from `issuer`, for the question that `receipt` records.

    It names the service that it is for. For a service that evaluates no policy it says that it is
    closed, and, where policy distinguishes principals, that it cannot be delegated. It names the
    question's Idempotency-Key, if there is one. With a chain, it names the delegations that it
    replaces, and has their policies, too.
    """
    question, held = case.question, case.origin.held
    own = statements(question, exact=approval is not None, whole_args=policy_decision.whole_args)
    if question.service and approval is None:
        chain = held.pol if held else []
        own += closed_grants.statements(case.bundle, question, [*chain, *question.pol])
    meta: dict[str, Any] = {
        "resource_constraint": question.resource,
        "receipt_id": receipt.id,
        "app_id": receipt.app,
        "audience": audience,
        "reads": reads(question),
        "facts": question.facts(receipt.bundle or ""),
    }
    if case.key is not None:
        meta["question"] = question_id(case.key)
    lineage = case.origin.lineage(case.agent, case.caller.app)
    if lineage is not None:
        meta["lineage"] = lineage
    if question.service:
        # Open grants were denied before. Services rely on this claim: the decision sets it.
        meta |= {"closed": True} if policy_decision.closed else {}
        meta |= {} if policy_decision.forkable else {"forkable": False}
    if approval is not None:
        meta["approval"] = {**vars(approval), "roles": list(approval.roles)}
    return Delegation(
        iss=issuer,
        aud=case.agent,
        sub=issuer,
        cmd=question.command,
        pol=own if held is None else merged([held.pol, own]),
        nonce=nonce,
        nbf=max(0, case.now - BACKDATED, held.starts_at if held else 0),
        exp=case.expires,
        meta=meta,
        prf=list(held.descent.cids) if held else None,
    )


def reads(question: CanonicalRequest) -> list[str]:
    """Return the commands that only read: a service accepts tokens of no others more than once."""
    commands = question.provider.commands
    return [
        command
        for command in question.commands or (question.command,)
        if command in commands and commands[command].risk == "read"
    ]


def statements(
    question: CanonicalRequest, *, exact: bool = False, whole_args: bool = False
) -> list[list[Any]]:
    """Return the delegation's policy: the command, its arguments, and the requested statements.

    For a prefix, the commands that it stands for now.

    A write is bound to exactly its arguments. A read is bound to each that was given, and may have
    further ones, such as a page number; `whole_args` binds all of them, `exact` also the resource.
    """
    return [*_named(question, exact=exact, whole_args=whole_args), *question.pol]


def _named(question: CanonicalRequest, *, exact: bool, whole_args: bool) -> list[list[Any]]:
    if question.commands:
        return [["or", [["==", ".cmd", command] for command in question.commands]]]
    bound: list[list[Any]] = [["==", ".cmd", question.command]]
    if exact:
        bound.append(["==", ".resource", dict(question.resource)])
    if question.args is None:
        return bound
    if not closed_grants.args_bound(question, exact=exact, whole_args=whole_args):
        return bound + [
            ["==", selector(name), question.args[name]] for name in sorted(question.args)
        ]
    return [*bound, ["==", ".args", dict(question.args)]]


def invocation(
    question: CanonicalRequest,
    *,
    issuer: str,
    agent: str,
    audience: str,
    chain: list[str],
    expires: int,
    nonce: str,
) -> Invocation:
    """Return the claims of the invocation for `audience`, valid as long as the delegation is."""
    args: Mapping[str, Any] = question.args or {}
    return Invocation(
        iss=agent,
        aud=audience,
        sub=issuer,
        cmd=question.command,
        args={"resource": question.resource, **args},
        nonce=nonce,
        iat=max(0, expires - question.ttl - BACKDATED),
        exp=expires,
        prf=chain,
    )


def issuer_of(jwt: str) -> str:
    """Return who signed a delegation of this server; the key that signs may have changed since."""
    return str(decode_unverified(jwt)["iss"])
