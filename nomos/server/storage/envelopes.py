"""Transactions on approval envelopes: ask, vote, use.

Each change of an envelope is one transaction with its audit record, the answer for a repeated
question, and the message to the webhook. The write lock is taken at its start, so what is read
here stays true until the commit, also while other processes use the file.

`nomos.server.domain.envelope` decides what happens. Records and messages are made by pure
functions of the caller, which may be called twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.server.domain import account_lines
from nomos.server.domain import envelope as rules
from nomos.server.domain.authorization import StoredAnswer
from nomos.server.domain.envelope import Ballot, Envelope, State, Vote, VoteError
from nomos.server.storage import envelope_rows, idempotency, records, registered_apps, revocations
from nomos.server.storage.approval_lookup import ApprovalLookup, find_or_open
from nomos.server.storage.damaged_rows import Damaged, Listed
from nomos.server.storage.database import Database
from nomos.server.storage.outbox import Outbox
from nomos.server.storage.steady_clock import Steady


@dataclass(frozen=True)
class AnswerRecord:
    """What is stored with an answer; `stored.key` is empty if it has no idempotency key."""

    record: Record
    stored: StoredAnswer


MakeAnswer = Callable[[ApprovalLookup], AnswerRecord]
Render = Callable[[Envelope, int], Mapping[str, Any]]
"""An envelope as operators and webhooks receive it, at a time in seconds."""

Voted = Callable[[Envelope, Vote], Record]


class Envelopes:
    """The envelopes of one system."""

    def __init__(
        self, database: Database, clock: Callable[[], float], outbox: Outbox, steady: Steady
    ) -> None:
        self._steady = steady
        self._database = database
        self._clock = clock
        self._outbox = outbox

    async def find(self, tenant: str, ident: str) -> Envelope | None:
        """Return one envelope of the tenant, with its votes."""
        return await self._database.read(envelope_rows.find, tenant, ident)

    async def listed(self, tenant: str, state: State | None, limit: int) -> Listed[Envelope]:
        """Return the tenant's envelopes in one state, or all, the newest first."""
        now = int(self._clock())
        return await self._database.read(envelope_rows.newest, tenant, state, limit, now)

    async def ask(
        self, draft: Envelope, make_answer: MakeAnswer, show: Render
    ) -> ApprovalLookup | StoredAnswer:
        """Find the envelope that answers this question, or make `draft` one.

        If the question's key was answered meanwhile, that answer is returned. Then, and if too many
        of the app's questions are pending, nothing is stored.
        """

        def work(connection: Connection) -> ApprovalLookup | StoredAnswer:
            now = int(self._clock())
            lookup = find_or_open(connection, draft, now)
            if lookup.kind == "full":
                return lookup
            answer = make_answer(lookup)
            earlier = self._store(connection, answer)
            if earlier is not None:
                return earlier
            if lookup.kind == "opened":
                envelope_rows.add(connection, lookup.envelope)
            if lookup.kind == "widened":
                envelope_rows.widen(connection, lookup.envelope)
            if lookup.changed:
                view, at = show(lookup.envelope, now), answer.record.at
                self._outbox.add(connection, draft.tenant, "approval.requested", view, at)
            return lookup

        return await self._database.write(work)

    async def consume(
        self, ident: str, answer: AnswerRecord, subjects: Collection[str]
    ) -> bool | StoredAnswer:
        """Use an approval for one allow, and record that. False if it cannot be used any more.

        It cannot if one of `subjects` (the envelope, the app, the agent) is revoked by now.
        """

        def work(connection: Connection) -> bool | StoredAnswer:
            now = int(self._clock())
            stored = answer.stored
            earlier = idempotency.find(connection, stored.app, stored.key, stored.created_at)
            if earlier is not None:
                return earlier
            if revocations.revoked_of(connection, [ident, *subjects]):
                return False
            if not envelope_rows.use(connection, answer.record.tenant, ident, now):
                return False
            earlier = self._store(connection, answer)
            assert earlier is None, "this key has no answer, and the lock is held"
            return True

        return await self._database.write(work)

    def _store(self, connection: Connection, answer: AnswerRecord) -> StoredAnswer | None:
        now = self._steady.now()
        return idempotency.add_recorded(connection, answer.record, answer.stored, now)

    async def vote(
        self, tenant: str, ident: str, ballot: Ballot, record: Voted, show: Render
    ) -> Envelope | VoteError | None:
        """Count an operator's vote. None if the tenant has no such envelope.

        Reasons against it are checked in this order: the operator may not vote, the envelope is
        settled, the envelope has changed.
        """

        def work(connection: Connection) -> Envelope | VoteError | None:
            now = int(self._clock())
            found = envelope_rows.find(connection, tenant, ident)
            if found is None:
                return None
            operator = ballot.operator
            accounts = registered_apps.accounts(connection, [operator])
            if ballot.approve and not account_lines.is_known(accounts, operator):
                raise Damaged(f"the account that registered {operator}")
            cast = replace(ballot, persons=account_lines.persons(accounts, operator))
            objection = rules.vote_error(found, cast, now)
            objection = objection or rules.version_error(found, ballot.version)
            if objection is not None:
                return objection
            after, vote = rules.record_vote(found, cast, now)
            envelope_rows.count(connection, after, vote)
            written = record(after, vote)
            records.add(connection, written)
            # With the operators' names.
            after = envelope_rows.find(connection, tenant, ident) or after
            if after.state != "pending":
                view = show(after, now)
                self._outbox.add(connection, tenant, "approval.decided", view, written.at)
            return after

        return await self._database.write(work)
