"""`AgentActivity`: the records of one agent of a swarm, collected for its summary."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nomos.audit.counted_refusals import counted
from nomos.audit.record import Record
from nomos.audit.swarm import (
    AgentAction,
    AgentSummary,
    Counts,
    DelegationSummary,
    RevocationSummary,
    recorded_at,
)

MAX_ACTIONS: Final = 100
"""Actions of an agent that are listed for each of: allowed, refused, and put to people."""

_ANSWERS: Final = {"allow": "allowed", "requires_step_up": "asked"}
_Listed = OrderedDict[str, "_Action"]


@dataclass
class _Action:
    record: Record
    times: int = 0


@dataclass
class AgentActivity:
    """What is known of one agent so far. The root and unverified agents have no `parent`."""

    agent: str
    parent: AgentActivity | None = None
    depth: int = 0
    given: dict[str, Record] = field(default_factory=dict)
    decisions: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    actions: dict[str, _Listed] = field(default_factory=lambda: defaultdict(OrderedDict))
    unlisted: int = 0
    last: int = 0

    def add(self, record: Record) -> None:
        """Count a decision or a call."""
        answer = _ANSWERS.get(str(record.decision), "refused")
        times = counted(record.act, record.detail) or 1
        (self.calls if record.kind == "call" else self.decisions)[answer] += times
        self.last = max(self.last, record.at)
        listed = self.actions[answer]
        what = [record.kind, record.command, record.resource, record.reason]
        key = json.dumps(what, sort_keys=True, default=str)
        action = listed.setdefault(key, _Action(record))
        action.record, action.times = record, action.times + times
        listed.move_to_end(key)
        if len(listed) > MAX_ACTIONS:
            _, forgotten = listed.popitem(last=False)
            self.unlisted += forgotten.times

    def member(self, revoked: Mapping[str, Record]) -> AgentSummary:
        """Return the summary; `revoked` has the revocations by cid or DID."""
        return AgentSummary(
            agent=self.agent,
            forked_by=None if self.parent is None else self.parent.agent,
            depth=self.depth,
            given=[_given(each, revoked) for each in self.given.values()],
            decisions=Counts(**self.decisions),
            calls=Counts(**self.calls),
            allowed=self._actions("allowed"),
            refused=self._actions("refused"),
            asked=self._actions("asked"),
            unlisted=self.unlisted,
            last_at=recorded_at(self.last) if self.last else None,
            revoked=_revoked(revoked.get(self.agent)),
        )

    def _actions(self, answer: str) -> list[AgentAction]:
        return [_agent_action(each) for each in reversed(self.actions[answer].values())]


def delegator(record: Record) -> str | None:
    """Return the issuer of the link that a record is about."""
    by = record.detail.get("by")
    return by if isinstance(by, str) else None


def _given(record: Record, revoked: Mapping[str, Record]) -> DelegationSummary:
    statements = record.detail.get("pol")
    return DelegationSummary(
        command=str(record.command),
        resource=dict(record.resource or {}),
        pol=statements if isinstance(statements, list) else [],
        by=delegator(record),
        cid=record.cid,
        at=recorded_at(record.at),
        expires_at=None if record.expires_at is None else recorded_at(record.expires_at, unit=1000),
        receipt_id=record.id,
        revoked=_revoked(revoked.get(record.cid or "")),
    )


def _agent_action(action: _Action) -> AgentAction:
    record = action.record
    return AgentAction(
        kind="call" if record.kind == "call" else "decision",
        command=record.command,
        resource=dict(record.resource or {}),
        reason=record.reason,
        times=action.times,
        last_at=recorded_at(record.at),
        receipt_id=record.id,
    )


def _revoked(record: Record | None) -> RevocationSummary | None:
    if record is None:
        return None
    reason = record.detail.get("reason")
    why = reason if isinstance(reason, str) else None
    return RevocationSummary(
        at=recorded_at(record.at), by=record.actor, reason=why, receipt_id=record.id
    )
