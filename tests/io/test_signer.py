"""The signer with the real binary: crashes, forks, full pipes, hostile environments."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from nomos._io.process import Process
from nomos._io.signer import AsyncSigner, Signer, SignerConnection, shared
from nomos._protocol import (
    Answer,
    Delegate,
    Delegation,
    ForgetKey,
    ForgetKeyAnswer,
    GenerateKey,
    GenerateKeyAnswer,
    Hello,
    HelloAnswer,
    Inspect,
    Inspected,
    LoadKey,
    LoadKeyAnswer,
    Refused,
    Signed,
)
from nomos.errors import BinaryNotFound, ProtocolMismatch, SignerCrashed, SignerError

SEED = "00" * 31 + "01"
DID = "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"
NOW = 1_790_000_000


@pytest.fixture
def link(binary: Path) -> Iterator[SignerConnection]:
    made = SignerConnection(binary)
    yield made
    made.close()


@pytest.fixture
def signer(link: SignerConnection) -> Signer:
    made = Signer(link)
    made.ask(LoadKey(seed=SEED))
    return made


def delegate(nonce: str, **meta: Any) -> Delegate:
    payload = Delegation(
        iss=DID, aud=DID, cmd="/a/b", pol=[], nonce=nonce, nbf=NOW, exp=NOW + 60, meta=meta or None
    )
    return Delegate(key=DID, payload=payload)


def nonce_of(signer: Signer, answer: Answer | Refused) -> str:
    """Return the nonce inside a signed token, as the binary itself reads it."""
    assert isinstance(answer, Signed)
    inspected = signer.ask(Inspect(token=answer.jwt))
    assert isinstance(inspected, Inspected)
    return str(inspected.payload["nonce"])


def pid_of(link: SignerConnection) -> int:
    process = link.running()
    assert process is not None
    return process.pid


def test_nothing_is_started_before_the_first_request(link: SignerConnection) -> None:
    assert link.running() is None
    assert isinstance(Signer(link).ask(Hello()), HelloAnswer)
    assert link.running() is not None


def test_one_binary_serves_all_guards_of_a_process(binary: Path) -> None:
    assert shared(binary) is shared(binary)


def test_a_refusal_is_an_answer(signer: Signer) -> None:
    answer = signer.ask(ForgetKey(key=DID))
    assert isinstance(answer, ForgetKeyAnswer)
    refused = signer.ask(delegate("n"))
    assert isinstance(refused, Refused)
    assert refused.code == "unknown_key"


def test_a_killed_binary_is_started_again_with_its_keys(
    signer: Signer, link: SignerConnection
) -> None:
    signer.ask(delegate("before"))
    os.kill(pid_of(link), signal.SIGKILL)
    assert nonce_of(signer, signer.ask(delegate("after"))) == "after"
    assert link.restarts == 1


def test_a_key_made_in_the_binary_survives_it(link: SignerConnection) -> None:
    signer = Signer(link)
    made = signer.ask(GenerateKey())
    assert isinstance(made, GenerateKeyAnswer)
    os.kill(pid_of(link), signal.SIGKILL)
    payload = delegate("n").payload.model_copy(update={"iss": made.key})
    assert isinstance(signer.ask(Delegate(key=made.key, payload=payload)), Signed)


def test_a_missing_key_is_loaded_into_a_new_binary(signer: Signer, link: SignerConnection) -> None:
    process = link.running()
    assert process is not None
    waited = threading.Event()
    process.submit(
        10**9,
        b'{"id":1000000000,"protocol":1,"op":"forget_key","key":"%s"}\n' % DID.encode(),
        lambda _: waited.set(),
    )
    assert waited.wait(5)
    assert isinstance(signer.ask(delegate("n")), Signed)


class Crowd:
    """Threads that ask for tokens, each with a nonce of its own, and note what came."""

    def __init__(self, signer: Signer, workers: int, each: int) -> None:
        self.asked = threading.Semaphore(0)
        self.outcomes: list[tuple[str, object]] = []
        self._signer, self._each = signer, each
        self._threads = [
            threading.Thread(target=self._work, args=(number,)) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, worker: int) -> None:
        for number in range(self._each):
            nonce = f"{worker}-{number}"
            try:
                self.outcomes.append((nonce, self._signer.ask(delegate(nonce))))
            except SignerError as error:
                self.outcomes.append((nonce, error))
            self.asked.release()

    def after(self, calls: int) -> None:
        for _ in range(calls):
            self.asked.acquire()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def test_twenty_crashes_in_a_thousand_calls_give_no_wrong_answer(
    signer: Signer, link: SignerConnection
) -> None:
    crowd, kills = Crowd(signer, workers=4, each=250), 0
    for _ in range(20):
        crowd.after(45)
        process = link.running()
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
    crowd.join()

    assert len(crowd.outcomes) == 1000
    for nonce, outcome in crowd.outcomes:
        if isinstance(outcome, Signed):
            assert nonce_of(signer, outcome) == nonce
        else:
            assert isinstance(outcome, SignerCrashed)
    assert kills >= 10
    assert 1 <= link.restarts <= kills


def test_large_requests_of_many_threads_do_not_deadlock(signer: Signer) -> None:
    """Far more than a pipe holds, in both directions at once."""
    wrong: list[object] = []

    def work(worker: int) -> None:
        for number in range(20):
            nonce = f"{worker}-{number}"
            answer = signer.ask(delegate(nonce, filler="x" * 30_000))
            if nonce_of(signer, answer) != nonce:
                wrong.append(answer)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert wrong == []


def test_a_request_over_the_line_limit_is_refused_before_sending(signer: Signer) -> None:
    with pytest.raises(SignerError, match="accepts 1048576") as refused:
        signer.ask(delegate("n", filler="x" * 1024 * 1024))
    assert refused.value.code == "too_large"


def test_an_idle_binary_ends_with_its_input(link: SignerConnection) -> None:
    Signer(link).ask(Hello())
    pid = pid_of(link)
    link.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_keyboard_interrupt_does_not_end_the_binary(
    signer: Signer, link: SignerConnection
) -> None:
    before = pid_of(link)
    os.kill(before, signal.SIGINT)
    assert isinstance(signer.ask(Hello()), HelloAnswer)
    assert pid_of(link) == before


# Binaries that are not what they should be


def fake(path: Path, body: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(body)}")
    path.chmod(0o755)
    return path


def test_a_binary_that_ends_at_once_is_named(tmp_path: Path) -> None:
    path = fake(tmp_path / "ends", "")
    with pytest.raises(SignerCrashed, match="ended while it was starting"):
        Signer(SignerConnection(path)).ask(Hello())


def test_a_binary_for_another_platform_is_named(tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(b"\x7fELF\x01garbage")
    path.chmod(0o755)
    with pytest.raises(BinaryNotFound, match="another platform"):
        Signer(SignerConnection(path)).ask(Hello())


@pytest.mark.parametrize(
    "answer",
    [
        '{"id": 1, "ok": False, "code": "protocol", "message": "I speak 2"}',
        '{"id": 1, "ok": True, "speaks": 2, "version": "9", "runtime": "x", "ops": []}',
    ],
)
def test_a_binary_of_another_protocol_is_refused(tmp_path: Path, answer: str) -> None:
    path = fake(
        tmp_path / "old",
        f"""
        import json, sys
        sys.stdin.readline()
        print(json.dumps({answer}), flush=True)
        sys.stdin.read()
        """,
    )
    with pytest.raises(ProtocolMismatch, match="this package speaks 1"):
        Signer(SignerConnection(path)).ask(Hello())


HANGS_AFTER_HELLO = """
    import json, sys
    sys.stdin.readline()
    hello = {"id": 1, "ok": True, "speaks": 1, "version": "0", "runtime": "x", "ops": []}
    print(json.dumps(hello), flush=True)
    sys.stdin.read()
"""


def test_a_binary_that_hangs_is_ended_at_its_deadline(tmp_path: Path) -> None:
    link = SignerConnection(fake(tmp_path / "hangs", HANGS_AFTER_HELLO), deadline=5)
    link.start()
    link.deadline = 0.2
    pid = pid_of(link)
    with pytest.raises(SignerCrashed, match=r"no answer within 0\.2 s"):
        Signer(link).ask(GenerateKey())
    link.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.anyio
async def test_a_binary_that_hangs_is_ended_for_tasks_too(tmp_path: Path) -> None:
    link = SignerConnection(fake(tmp_path / "hangs", HANGS_AFTER_HELLO), deadline=5)
    link.start()
    link.deadline = 0.2
    with pytest.raises(SignerCrashed, match=r"no answer within 0\.2 s"):
        await AsyncSigner(link).ask(GenerateKey())
    link.close()


ANSWERS_ONLY_HELLO = """
    import json, sys
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "hello":
            hello = {"ok": True, "speaks": 1, "version": "0", "runtime": "x", "ops": []}
            print(json.dumps({"id": request["id"], **hello}), flush=True)
"""


def test_a_binary_that_is_only_busy_is_not_ended(tmp_path: Path) -> None:
    """One request that waits too long must not take everybody's signer away."""
    link = SignerConnection(fake(tmp_path / "busy", ANSWERS_ONLY_HELLO), deadline=5)
    link.start()
    link.deadline = 0.5
    before = pid_of(link)
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            Signer(link).ask(Hello())

    others = threading.Thread(target=keep_asking)
    others.start()
    try:
        with pytest.raises(SignerCrashed, match="it is busy"):
            Signer(link).ask(GenerateKey())
    finally:
        stop.set()
        others.join()
    assert pid_of(link) == before
    link.close()


def test_a_binary_with_malformed_answers_is_ended(tmp_path: Path) -> None:
    path = fake(tmp_path / "raves", "print('hello?', flush=True); import sys; sys.stdin.read()")
    with pytest.raises(SignerCrashed):
        Signer(SignerConnection(path)).ask(Hello())


# Surroundings


def test_the_callers_environment_and_folder_do_not_affect_the_binary(
    tmp_path: Path, binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Bun runtime would run each of these, if it saw them."""
    mark = tmp_path / "ran"
    evil = tmp_path / "evil.ts"
    evil.write_text(f"require('node:fs').writeFileSync({str(mark)!r}, 'yes')\n")
    (tmp_path / "bunfig.toml").write_text(f'preload = ["{evil}"]\n')
    (tmp_path / ".env").write_text("BUN_BE_BUN=1\nEVIL=1\n")
    (tmp_path / "package.json").write_text('{"type": "commonjs"}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("BUN_OPTIONS", f"--preload={evil}")
    monkeypatch.setenv("BUN_BE_BUN", "1")
    monkeypatch.setenv("NODE_OPTIONS", f"--require={evil}")
    link = SignerConnection(binary)
    try:
        signer = Signer(link)
        assert isinstance(signer.ask(LoadKey(seed=SEED)), LoadKeyAnswer)
        assert isinstance(signer.ask(delegate("n")), Signed)
        environment = Path(f"/proc/{pid_of(link)}/environ").read_bytes()
        assert b"BUN" not in environment
        assert b"NODE" not in environment
    finally:
        link.close()
    assert not mark.exists()


def test_a_key_is_not_where_others_could_see_it(signer: Signer, link: SignerConnection) -> None:
    pid = pid_of(link)
    seen = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert SEED.encode() not in seen
    for thing in (LoadKey(seed=SEED), link, signer, vars(link)):
        assert SEED not in repr(thing)
    with pytest.raises(TypeError):
        pickle.dumps(link)


def test_the_binarys_folder_is_gone_once_it_runs(signer: Signer, link: SignerConnection) -> None:
    process = link.running()
    assert process is not None
    assert not process._surroundings.directory.exists()


# Tasks


@pytest.mark.anyio
async def test_tasks_get_their_own_answers(link: SignerConnection) -> None:
    signer = AsyncSigner(link)
    await signer.ask(LoadKey(seed=SEED))
    right: list[bool] = []

    async def work(number: int) -> None:
        signed = await signer.ask(delegate(str(number)))
        assert isinstance(signed, Signed)
        read = await signer.ask(Inspect(token=signed.jwt))
        assert isinstance(read, Inspected)
        right.append(read.payload["nonce"] == str(number))

    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(work, number)
    assert right == [True] * 200


@pytest.mark.anyio
async def test_a_cancelled_task_leaves_the_others_their_answers(link: SignerConnection) -> None:
    signer = AsyncSigner(link)
    await signer.ask(LoadKey(seed=SEED))
    with anyio.move_on_after(0):
        await signer.ask(delegate("cancelled"))
    answer = await signer.ask(delegate("next"))
    read = await signer.ask(Inspect(token=getattr(answer, "jwt", "")))
    assert isinstance(read, Inspected)
    assert read.payload["nonce"] == "next"


def test_an_answer_for_a_closed_loop_is_dropped(link: SignerConnection) -> None:
    signer = AsyncSigner(link)

    async def leave() -> None:
        asyncio.get_running_loop().create_task(signer.ask(delegate("n")))
        await asyncio.sleep(0)

    link.start()
    for _ in range(20):
        asyncio.run(leave())
    assert isinstance(Signer(link).ask(Hello()), HelloAnswer)


# Forks


def test_a_forked_child_starts_its_own_binary(signer: Signer, link: SignerConnection) -> None:
    parents = pid_of(link)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = signer.ask(delegate("child"))
            good = nonce_of(signer, answer) == "child" and pid_of(link) != parents
            link.close()
            os.write(write, b"1" if good else b"0")
        finally:
            os._exit(0)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read, 1) == b"1"
    assert nonce_of(signer, signer.ask(delegate("parent"))) == "parent"
    assert pid_of(link) == parents
    assert link.restarts == 0


def test_a_parents_binary_ends_with_it_although_a_forked_child_lives_on(binary: Path) -> None:
    program = f"""
        import os, sys, time
        from pathlib import Path
        from nomos._io.signer import SignerConnection, Signer
        from nomos._protocol import Hello
        link = SignerConnection(Path({str(binary)!r}))
        Signer(link).ask(Hello())
        child = os.fork()
        if child == 0:
            sys.stdin.readline()
            os._exit(0)
        print(link.running().pid, child, flush=True)
        os._exit(0)
    """
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    binary_pid, child = map(int, parent.stdout.readline().split())
    assert parent.wait(10) == 0
    deadline = time.monotonic() + 10
    while Path(f"/proc/{binary_pid}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{binary_pid}/cmdline").exists()
    os.kill(child, 0)
    parent.stdin.close()
    parent.stdout.close()


def test_a_closed_process_refuses_requests(binary: Path) -> None:
    process = Process(binary)
    process.close()
    process.close()
    with pytest.raises(SignerCrashed):
        process.submit(1, b"{}\n", lambda _: None)
