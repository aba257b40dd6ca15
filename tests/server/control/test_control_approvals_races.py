"""Two processes use one approval: exactly one gets the allow."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import store_access
from long_runs import times
from server.control import race_processes
from server.control.people import ISSUE, POLICY

from nomos.audit.record import Record
from nomos.server.domain.envelope import Ballot, Envelope, Vote
from nomos.server.storage.store import Store

ROUNDS: Final = times(500, short=50)
STORE_ROUNDS: Final = times(50, short=10)
RACERS: Final = 2

SERVER = """
import asyncio, json, sys
from pathlib import Path
from nomos._io.signer import AsyncSigner, shared
from nomos.policy.bundle import Source
from nomos.server.app import System
from nomos.server.run import bind, serve
from nomos.server.settings import Settings

async def main(data, policy):
    settings = Settings(data=data, policies=(Source("policy.cedar", policy),))
    system = await System.open(settings, AsyncSigner(shared()))
    agent = await system.create_app("racers")
    lead = await system.create_app("lead", "operator", ("lead",))
    sockets = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    setup = {"port": sockets[0].getsockname()[1], "agent": agent.reveal(), "lead": lead.reveal()}
    print(json.dumps(setup), flush=True)
    await serve(system, *sockets)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


@contextmanager
def serving(data: Path) -> Iterator[dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(data), POLICY], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def race(target: Callable[..., None], *arguments: tuple[Any, ...]) -> list[Any]:
    """Run a process for each of `arguments`; return what each put in the queue."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(len(arguments)), context.Queue()
    processes = [
        context.Process(target=target, args=(*each, start, results), daemon=True)
        for each in arguments
    ]
    for process in processes:
        process.start()
    try:
        return [results.get(timeout=50) for _ in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_two_processes_that_retry_one_approval_get_one_allow(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        bodies = approved_questions(server)
        one = (server["port"], server["agent"], bodies)
        results = race(race_processes.post_each, *[one] * RACERS)
        with client(server, "agent") as agent:
            latest = agent.get(f"/v1/approvals/{bodies[-1]['cosignerEnvelopeId']}").json()
    rounds = list(zip(*results, strict=True))
    assert len(rounds) == ROUNDS
    for answers in rounds:
        outcomes = sorted((answer["decision"], answer.get("reason", "")) for answer in answers)
        assert outcomes == [("allow", ""), ("deny", "approval_already_used")]
    assert latest["state"] == "consumed"
    winners = Counter(answers[0]["decision"] for answers in rounds)
    assert set(winners) == {"allow", "deny"}, "the same process won all rounds: this was no race"


def approved_questions(server: dict[str, Any]) -> list[dict[str, Any]]:
    with client(server, "agent") as agent, client(server, "lead") as lead:

        def approved(number: int) -> dict[str, Any]:
            body = {**ISSUE, "args": {"title": f"round {number}"}}
            envelope = agent.post("/v1/authorize", json=body).json()["approvalEnvelopeId"]
            path = f"/v1/approvals/{envelope}"
            yes = {"approve": True, "version": lead.get(path).json()["version"]}
            answer = lead.post(f"{path}/decide", json=yes)
            assert answer.json()["state"] == "approved"
            return {**body, "cosignerEnvelopeId": envelope}

        with ThreadPoolExecutor(8) as threads:  # fewer than may wait at the same time
            return list(threads.map(approved, range(ROUNDS)))


def client(server: dict[str, Any], role: str) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{server['port']}",
        headers={"authorization": f"Bearer {server[role]}"},
        trust_env=False,
    )


def test_two_processes_on_one_database_open_one_question_and_use_it_once(tmp_path: Path) -> None:
    asyncio.run(made(tmp_path))
    asking = [(tmp_path, who, STORE_ROUNDS) for who in range(RACERS)]
    first, second = race(race_processes.open_in_process, *asking)
    assert first == second
    assert len(set(first)) == STORE_ROUNDS
    assert {ident[-1] for ident in first} == {"0", "1"}, "this was no race"
    asyncio.run(approve(tmp_path, first))
    using = [(tmp_path, who, first) for who in range(RACERS)]
    rounds = list(zip(*race(race_processes.use_in_process, *using), strict=True))
    assert [sorted(map(bool, each)) for each in rounds] == [[False, True]] * STORE_ROUNDS
    records = asyncio.run(on_receipt(tmp_path))
    kinds = Counter((record.kind, record.envelope) for record in records)
    assert kinds == Counter(
        {("decision", ident): RACERS + 1 for ident in first}
        | {("approval", ident): 1 for ident in first}
    )


async def made(folder: Path) -> None:
    store = Store(folder)
    await store.migrate()
    await store.close()


async def approve(folder: Path, idents: list[str]) -> None:
    store = Store(folder, lambda: race_processes.AT)

    def record(after: Envelope, vote: Vote) -> Record:
        return Record(
            f"evt_{after.id}", "default", "approval", race_processes.AT, envelope=after.id
        )

    for ident in idents:
        asked = await store.envelopes.find("default", ident)
        assert asked is not None
        ballot = Ballot("app_lead", ("lead",), approve=True, version=asked.version)
        after = await store.envelopes.vote("default", ident, ballot, record, lambda *_: {})
        assert isinstance(after, Envelope)
        assert after.state == "approved"
    await store.close()


async def on_receipt(folder: Path) -> tuple[Record, ...]:
    store = Store(folder)
    found = await store_access.receipts(store, "default", 10_000)
    await store.close()
    return found
