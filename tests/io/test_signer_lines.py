"""Answers of several lines: merged, and requested again as a whole after a crash."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos._protocol import (
    Answer,
    Delegate,
    Delegation,
    Fork,
    ForkAnswer,
    ForkChild,
    ForkLink,
    GenerateKey,
    GenerateKeyAnswer,
    Hello,
    HelloAnswer,
    LoadKey,
    Refused,
    Request,
    Signed,
    Verified,
    Verify,
)
from nomos.errors import SignerCrashed

SEED = "00" * 31 + "01"
DID = "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"
NOW = 1_790_000_000


@pytest.fixture
def link(binary: Path) -> Iterator[SignerConnection]:
    made = SignerConnection(binary)
    yield made
    made.close()


def in_thread(link: SignerConnection, request: Request) -> Answer | Refused:
    return Signer(link).ask(request)


def in_asyncio(link: SignerConnection, request: Request) -> Answer | Refused:
    return anyio.run(AsyncSigner(link).ask, request)


def in_trio(link: SignerConnection, request: Request) -> Answer | Refused:
    return anyio.run(AsyncSigner(link).ask, request, backend="trio")


Ask = Callable[[SignerConnection, Request], Answer | Refused]


@pytest.fixture(params=[in_thread, in_asyncio, in_trio])
def ask(request: pytest.FixtureRequest) -> Ask:
    made: Ask = request.param
    return made


def root(link: SignerConnection) -> str:
    """A chain of one, by and for the same key."""
    signer = Signer(link)
    signer.ask(LoadKey(seed=SEED))
    payload = Delegation(iss=DID, aud=DID, cmd="/a", pol=[], nonce="n", nbf=NOW, exp=NOW + 60)
    signed = signer.ask(Delegate(key=DID, payload=payload))
    assert isinstance(signed, Signed)
    return signed.jwt


def forking(chain: str, count: int) -> Fork:
    children = [
        ForkChild(aud=DID, links=[ForkLink(cmd="/a/b", pol=[], nonce=str(number))])
        for number in range(count)
    ]
    return Fork(key=DID, chains=[[chain]], children=children, now=NOW)


def test_a_thousand_children_are_answered_in_the_requested_order(
    link: SignerConnection, ask: Ask
) -> None:
    first = root(link)
    answer = ask(link, forking(first, 1000))
    assert isinstance(answer, ForkAnswer)
    assert not answer.more
    assert len({child.links[0].cid for child in answer.children}) == 1000
    for number in (0, 255, 256, 999):
        jwt = answer.children[number].links[0].jwt
        verified = Signer(link).ask(Verify(chain=[first, jwt], now=NOW))
        assert isinstance(verified, Verified)
        assert verified.depth == 2
        own = ask(link, forking(first, 1000).model_copy(update={"children": [_child(number)]}))
        assert isinstance(own, ForkAnswer)
        assert own.children[0].links[0].jwt == jwt


def _child(number: int) -> ForkChild:
    return forking("", number + 1).children[number]


def test_a_refusal_of_a_fork_is_one_line(link: SignerConnection, ask: Ask) -> None:
    refused = ask(link, forking("x", 1000))
    assert isinstance(refused, Refused)
    assert refused.code == "malformed_ucan"


def test_seeds_of_children_are_not_printed(link: SignerConnection) -> None:
    request = forking(root(link), 1).model_copy(
        update={"children": [ForkChild(links=_child(0).links)]}
    )
    answer = Signer(link).ask(request)
    assert isinstance(answer, ForkAnswer)
    seed = answer.children[0].seed
    assert seed is not None
    assert seed not in repr(answer)


def test_many_threads_fork_and_ask_other_things_through_one_binary(link: SignerConnection) -> None:
    first, wrong = root(link), []

    def work(worker: int) -> None:
        for _ in range(3):
            answer = Signer(link).ask(forking(first, 300 + worker))
            count = len(answer.children) if isinstance(answer, ForkAnswer) else answer
            if count != 300 + worker or not isinstance(Signer(link).ask(Hello()), HelloAnswer):
                wrong.append(count)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert wrong == []


def test_a_binary_killed_repeatedly_gives_no_partial_answer(link: SignerConnection) -> None:
    first, done = root(link), threading.Event()
    outcomes: list[object] = []

    def kill() -> None:
        while not done.wait(0.03):
            process = link.running()
            if process is not None:
                os.kill(process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for _ in range(25):
            try:
                outcomes.append(Signer(link).ask(forking(first, 600)))
            except SignerCrashed as died:
                outcomes.append(died)
    finally:
        done.set()
        killer.join()
    assert link.restarts > 0
    for outcome in outcomes:
        assert isinstance(outcome, SignerCrashed | ForkAnswer)
        if isinstance(outcome, ForkAnswer):
            assert len(outcome.children) == 600


# Binaries that stop within an answer

STOPS = """
    import json, os, sys, time
    mark = {mark!r}
    def say(request, **members):
        print(json.dumps({{"id": request["id"], "ok": True}} | members), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "hello":
            say(request, speaks=1, version="0", runtime="x", ops=[])
        elif request["op"] == "fork":
            child = {{"aud": request["key"], "links": [{{"jwt": "a", "cid": "b"}}]}}
            say(request, children=[child, child], more=True)
            {then}
            say(request, children=[child], more=False)
"""


def stopping(tmp_path: Path, then: str) -> SignerConnection:
    path = tmp_path / "stops"
    program = textwrap.dedent(STOPS.format(mark=str(tmp_path / "mark"), then=then))
    path.write_text(f"#!{sys.executable}\n{program}")
    path.chmod(0o755)
    link = SignerConnection(path, deadline=5)
    link.start()
    return link


def test_a_crash_within_an_answer_repeats_the_whole_request(tmp_path: Path, ask: Ask) -> None:
    once = "os.path.exists(mark) or (open(mark, 'w'), os._exit(1))"
    link = stopping(tmp_path, once)
    answer = ask(link, forking("x", 3))
    assert isinstance(answer, ForkAnswer)
    assert len(answer.children) == 3
    assert link.restarts == 1
    link.close()


def test_two_crashes_within_an_answer_are_an_error(tmp_path: Path, ask: Ask) -> None:
    link = stopping(tmp_path, "os._exit(1)")
    with pytest.raises(SignerCrashed, match="ended twice"):
        ask(link, forking("x", 3))
    link.close()


def test_the_deadline_is_for_the_whole_answer(tmp_path: Path, ask: Ask) -> None:
    link = stopping(tmp_path, "time.sleep(60)")
    link.deadline = 0.3
    began = time.monotonic()
    with pytest.raises(SignerCrashed, match=r"no answer within 0\.3 s"):
        ask(link, forking("x", 3))
    assert time.monotonic() - began < 5
    link.close()


def test_lines_after_the_deadline_are_dropped(tmp_path: Path, ask: Ask) -> None:
    """A binary that still talks is not ended, however long its answer takes."""
    trickle = "[(time.sleep(0.2), say(request, children=[], more=True)) for _ in range(10)]"
    link = stopping(tmp_path, trickle)
    process = link.running()
    link.deadline = 1
    with pytest.raises(SignerCrashed, match="it is busy"):
        ask(link, forking("x", 3))
    link.deadline = 5
    assert isinstance(ask(link, Hello()), HelloAnswer)
    assert link.running() is process
    link.close()


def test_a_failure_within_an_answer_replaces_the_answer(tmp_path: Path, ask: Ask) -> None:
    refuse = "say(request, ok=False, code='internal', message='failed'); continue"
    link = stopping(tmp_path, refuse)
    answer = ask(link, forking("x", 3))
    assert isinstance(answer, Refused)
    assert answer.code == "internal"
    link.close()


def test_a_key_that_is_made_for_a_child_is_not_loaded_after_a_restart(
    link: SignerConnection,
) -> None:
    request = forking(root(link), 1).model_copy(
        update={"children": [ForkChild(links=_child(0).links)]}
    )
    answer = Signer(link).ask(request)
    assert isinstance(answer, ForkAnswer)
    assert not link.holds(answer.children[0].aud)
    made = Signer(link).ask(GenerateKey())
    assert isinstance(made, GenerateKeyAnswer)
    assert link.holds(made.key)
