"""A question in canonical form, its evaluation with the audit record, and its answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from nomos.audit.record import Record
from nomos.models import Resource
from nomos.policy.bundle import Bundle
from nomos.policy.decision import PolicyDecision
from nomos.resources import CommandSpec, Provider
from nomos.server.domain.accounts import ApiKey
from nomos.server.domain.delegation import DelegationContext
from nomos.server.domain.envelope import Envelope

Reply = dict[str, Any]


@dataclass(frozen=True)
class CanonicalRequest:
    """A question in canonical form.

    `spec` is None for an unknown command, which is possible only with a chain and is denied. It is
    also None for a prefix; `commands` then has the commands under it, sorted. `args` is None when
    they are not bound, `agent` when the app's own key signs, `audience` when it is the PDP. `sent`
    has the args as the agent sent them, for operators; `cosigner` is the envelope of an approval.
    `pol` are further statements about each call. `service` is true if the audience verifies tokens
    and evaluates no policy.
    """

    command: str
    provider: Provider
    spec: CommandSpec | None
    resource: Resource
    args: Mapping[str, Any] | None
    ttl: int
    agent: str | None
    purpose: str | None
    context: Mapping[str, Any] | None
    sent: Mapping[str, Any] | None = None
    cosigner: str | None = None
    audience: str | None = None
    commands: tuple[str, ...] = ()
    pol: tuple[Any, ...] = ()
    service: bool = False

    def facts(self, bundle: str) -> dict[str, Any]:
        """Return the facts about its origin that the delegation carries."""
        facts: dict[str, Any] = {"bundle": bundle}
        if self.purpose is not None:
            facts["purpose"] = self.purpose
        if self.context is not None:
            facts["agent"] = dict(self.context)
        return facts


@dataclass(frozen=True)
class StoredAnswer:
    """The answer to a question with an idempotency key. `expires_at` and `cid` are an allow's."""

    tenant: str
    app: str
    key: str
    request_hash: str
    receipt_id: str
    agent: str
    answer: Mapping[str, Any]
    created_at: int
    cid: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """A question that is being answered: its caller, its agent, and when and by which policies.

    `key` and `request_hash` identify a repetition of it. `receipt` is the id of its record, which
    does not exist yet. `at` is in milliseconds.
    """

    question: CanonicalRequest
    caller: ApiKey
    agent: str
    origin: DelegationContext
    request_id: str
    key: str | None
    request_hash: str
    at: int
    receipt: str
    bundle: Bundle

    @cached_property
    def now(self) -> int:
        """The time in seconds."""
        return self.at // 1000

    @cached_property
    def expires(self) -> int:
        """When a grant made now expires: as requested, but no later than its chain."""
        held, wanted = self.origin.held, self.now + self.question.ttl
        return wanted if held is None else min(wanted, held.expires_at)

    @property
    def bound(self) -> dict[str, Any]:
        """The members of the question that an approval is bound to; the purpose is not."""
        question, origin = self.question, self.origin
        root = origin.on_behalf_of
        bound: dict[str, Any] = {
            "tenant": self.caller.tenant,
            "app": self.caller.app,
            "agentDid": self.agent,
            "command": question.command,
            "resource": dict(question.resource),
            "args": None if question.args is None else dict(question.args),
            "context": dict(question.context or {}),
            "ttl": question.ttl,
            "root": root,
            # An agent that attenuates its own grant acts for no other agent.
            "invokedBy": list(origin.invoked_by) if root else [],
        }
        if question.audience is not None:
            bound["audience"] = question.audience
        if question.pol:
            bound["pol"] = list(question.pol)
        return bound

    def with_purpose(self, purpose: str | None) -> Evaluation:
        """Return the same question with another purpose."""
        return replace(self, question=replace(self.question, purpose=purpose))

    def record(self, policy_decision: PolicyDecision, envelope: Envelope | None = None) -> Record:
        """Return the audit record of the answer; `envelope` is the approval request concerned."""
        question, caller, origin = self.question, self.caller, self.origin
        cause = origin.record if envelope is None else envelope.receipt_id
        return Record(
            id=self.receipt,
            tenant=caller.tenant,
            kind="decision",
            at=self.at,
            app=caller.app,
            agent=self.agent,
            command=question.command,
            resource=dict(question.resource),
            args=None if question.args is None else dict(question.args),
            decision=policy_decision.decision,
            reason=policy_decision.reason,
            policies=policy_decision.policies,
            bundle=self.bundle.hash,
            purpose=question.purpose,
            request_id=self.request_id,
            status=200,
            envelope=None if envelope is None else envelope.id,
            parent=origin.record if cause == self.receipt else cause,
            root=origin.root(self.agent),
            detail=self._detail(policy_decision),
        )

    def _detail(self, policy_decision: PolicyDecision) -> dict[str, Any]:
        """Return what differs from the approval, what was requested, and the swarm's name."""
        detail = {
            "fields": list(policy_decision.fields),
            "commands": list(self.question.commands),
            "pol": list(self.question.pol),
            "swarm": self.origin.explicit_swarm_id,
        }
        return {name: value for name, value in detail.items() if value}

    def stored(self, record: Record, answer: Reply) -> StoredAnswer:
        """Return the answer that a repetition of the question gets."""
        return StoredAnswer(
            tenant=record.tenant,
            app=self.caller.app,
            key=self.key or "",
            request_hash=self.request_hash,
            receipt_id=record.id,
            agent=self.agent,
            answer=answer,
            created_at=self.now,
            cid=record.cid,
            expires_at=record.expires_at,
        )
