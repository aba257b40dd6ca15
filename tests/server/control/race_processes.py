"""Functions of the processes in races; a barrier starts each round in all of them."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from nomos.audit.record import Record
from nomos.server.domain.authorization import StoredAnswer
from nomos.server.domain.envelope import Envelope, fingerprint
from nomos.server.storage.approval_lookup import ApprovalLookup
from nomos.server.storage.envelopes import AnswerRecord
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.store import Store

PATIENCE = 30.0
AT = 1_800_000_000


def post_each(
    port: int, key: str, bodies: Sequence[Mapping[str, Any]], start: Barrier, results: Queue[Any]
) -> None:
    """Post the body of each round to /v1/authorize; put the answers in `results`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    answers = []
    for body in bodies:
        start.wait(PATIENCE)
        connection.request("POST", "/v1/authorize", json.dumps(body), headers)
        answers.append(json.loads(connection.getresponse().read()))
    connection.close()
    results.put(answers)


def draft(number: int, who: int) -> Envelope:
    """A question, and the envelope that process `who` would open for it."""
    bound: dict[str, Any] = {
        "tenant": "default",
        "app": f"app_{number}",
        "agentDid": "did:key:x",
        "command": "/a/b",
        "args": None,
        "context": {},
    }
    return Envelope(
        id=f"env_{number}_{who}",
        tenant="default",
        app=f"app_{number}",
        fingerprint=fingerprint(bound),
        bound=bound,
        roles=("lead",),
        policies=("p",),
        receipt_id=f"evt_{number}_{who}",
        created_at=AT,
        expires_at=AT + 900,
    )


def answer_record(envelope: Envelope, record: str) -> AnswerRecord:
    """What is written about an answer."""
    row = Record(record, "default", "decision", AT * 1000, envelope=envelope.id)
    stored = StoredAnswer("default", envelope.app, "", "0" * 64, record, "x", {}, AT)
    return AnswerRecord(row, stored)


async def open_each(folder: Path, who: int, rounds: int, start: Barrier) -> list[str]:
    """Ask one question in each round; return the envelopes that were found."""
    store = Store(folder, lambda: AT)
    found = []
    for number in range(rounds):
        mine = draft(number, who)

        def record(standing: ApprovalLookup, mine: Envelope = mine) -> AnswerRecord:
            return answer_record(standing.envelope, mine.receipt_id)

        await asyncio.to_thread(start.wait, PATIENCE)
        standing = await store.envelopes.ask(mine, record, lambda *_: {})
        assert isinstance(standing, ApprovalLookup)
        found.append(standing.envelope.id)
    await store.close()
    return found


async def use_each(folder: Path, idents: Sequence[str], start: Barrier) -> list[object]:
    """Use one approval in each round; return which of them counted."""
    store = Store(folder, lambda: AT)
    used: list[object] = []
    for number, ident in enumerate(idents):
        envelope = replace(draft(number, 0), id=ident)
        record = answer_record(envelope, new_receipt_id(AT * 1000))
        await asyncio.to_thread(start.wait, PATIENCE)
        used.append(await store.envelopes.consume(ident, record, ()))
    await store.close()
    return used


def open_in_process(
    folder: Path, who: int, rounds: int, start: Barrier, results: Queue[Any]
) -> None:
    """Ask one question in each round."""
    results.put(asyncio.run(open_each(folder, who, rounds, start)))


def use_in_process(
    folder: Path, who: int, idents: list[str], start: Barrier, results: Queue[Any]
) -> None:
    """Use one approval in each round."""
    results.put(asyncio.run(use_each(folder, idents, start)))
