"""A question on its way to an answer, and what is written down about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from nomos.audit.record import Record
from nomos.policy.bundle import Bundle
from nomos.server.control.decision import Reply, Ruling
from nomos.server.control.envelope import Envelope
from nomos.server.control.question import Asked
from nomos.server.redact import redact
from nomos.server.storage.apps import ApiKey
from nomos.server.storage.idempotency import StoredAnswer


@dataclass(frozen=True)
class Asking:
    """A question with who asks it, and how a repetition of it is recognised."""

    asked: Asked
    caller: ApiKey
    request_id: str
    key: str | None
    request_hash: str


@dataclass(frozen=True)
class Case:
    """A question that is being answered: at a time, for an agent, by the policies of then.

    `receipt` is the id of the record that there will be of it. `at` is in milliseconds.
    """

    asking: Asking
    agent: str
    at: int
    receipt: str
    bundle: Bundle

    @property
    def asked(self) -> Asked:
        """What is asked."""
        return self.asking.asked

    @property
    def caller(self) -> ApiKey:
        """Who asks."""
        return self.asking.caller

    @property
    def now(self) -> int:
        """The time in seconds."""
        return self.at // 1000

    @property
    def bound(self) -> dict[str, Any]:
        """What an approval of this question holds for."""
        return self.asked.bound(self.caller.tenant, self.caller.app, self.agent)

    def saying(self, purpose: str | None) -> Case:
        """The same question with another purpose beside it."""
        asked = replace(self.asked, purpose=purpose)
        return replace(self, asking=replace(self.asking, asked=asked))

    def record(self, ruling: Ruling, envelope: Envelope | None = None) -> Record:
        """What the audit log says of the answer; `envelope` is the approval concerned."""
        asked, caller = self.asked, self.caller
        led_here = None if envelope is None else envelope.receipt_id
        return Record(
            id=self.receipt,
            tenant=caller.tenant,
            kind="decision",
            at=self.at,
            app=caller.app,
            agent=self.agent,
            command=asked.command,
            resource=redact(dict(asked.resource)),
            args=None if asked.args is None else redact(dict(asked.args)),
            decision=ruling.decision,
            reason=ruling.reason,
            policies=ruling.policies,
            bundle=self.bundle.hash,
            purpose=redact(asked.purpose),
            request_id=self.asking.request_id,
            status=200,
            envelope=None if envelope is None else envelope.id,
            parent=None if led_here == self.receipt else led_here,
            detail={"fields": list(ruling.fields)} if ruling.fields else {},
        )

    def stored(self, record: Record, answer: Reply) -> StoredAnswer:
        """What a repetition of the question gets."""
        return StoredAnswer(
            tenant=record.tenant,
            app=self.caller.app,
            key=self.asking.key or "",
            request_hash=self.asking.request_hash,
            receipt_id=record.id,
            agent=self.agent,
            answer=answer,
            created_at=self.now,
            cid=record.cid,
            expires_at=record.expires_at,
        )
