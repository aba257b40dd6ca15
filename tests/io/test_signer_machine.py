"""The signer with limited threads, descriptors or folders."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from nomos._io import signer_sandbox
from nomos._io.pipes import Descriptor
from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos._protocol import GenerateKey, GenerateKeyAnswer, Hello, HelloAnswer, LoadKey
from nomos.errors import BinaryNotFound, SignerCrashed, SignerError

SEED = "00" * 31 + "01"


@pytest.fixture
def link(binary: Path) -> Iterator[SignerConnection]:
    made = SignerConnection(binary)
    yield made
    made.close()


def run(program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environ},
        check=False,
    )


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def children() -> str:
    """The child processes there are, those that were not waited for included."""
    return "".join(each.read_text() for each in Path("/proc/self/task").glob("*/children"))


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("nomos-ucan-*"))


def test_a_dead_binary_never_ends_a_process_by_sigpipe() -> None:
    done = run("""
        import os, signal, threading
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        from nomos._io.signer import Signer, shared
        from nomos._protocol import GenerateKey
        signer = Signer(shared())
        for _ in range(50):
            signer.ask(GenerateKey())
            os.kill(shared().running().pid, signal.SIGKILL)
        signer.ask(GenerateKey())
        process = shared().running()
        os.kill(process.pid, signal.SIGSTOP)
        lines = [shared().line(GenerateKey()) for _ in range(20000)]
        for ident, line in lines:  # more than the socket holds: the thread has to write, too
            process.submit(ident, line, lambda _: None)
        os.kill(process.pid, signal.SIGKILL)
        signer.ask(GenerateKey())
        print("alive")
    """)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_a_failed_thread_start_leaves_nothing_behind(
    link: SignerConnection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    # Other test processes start binaries in the common folder meanwhile.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = open_files(), children(), folders()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(20):
            with pytest.raises(SignerError, match=r"can't start new thread.*ulimit -u"):
                Signer(link).ask(Hello())
    assert (open_files(), children(), folders()) == before
    assert isinstance(Signer(link).ask(Hello()), HelloAnswer)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_get_an_error_when_there_are_no_threads(
    link: SignerConnection, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> None:
        async def refuse(*_: object, **__: object) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(anyio.to_thread, "run_sync", refuse)
        with pytest.raises(SignerError, match=r"can't start new thread.*ulimit -u"):
            await AsyncSigner(link).ask(Hello())

    anyio.run(ask, backend=backend)
    assert link.running() is None


def test_without_descriptors_nothing_is_left_behind() -> None:
    done = run("""
        import os, resource
        from nomos._io.signer import SignerConnection, Signer
        from nomos._io.binary_location import find_binary
        from nomos._protocol import Hello
        from nomos.errors import SignerError
        import subprocess
        link = SignerConnection(find_binary())
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held, said = [], set()
        while True:
            try:
                held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        for free in range(12):  # each number of free descriptors fails at another step
            before = sorted(os.listdir("/proc/self/fd")) if free else None
            try:
                Signer(link).ask(Hello())
            except SignerError as error:
                said.add("too many open files" in str(error).lower())
                assert before is None or sorted(os.listdir("/proc/self/fd")) == before
            else:
                print(free, said)
                break
            os.close(held.pop())
    """)
    assert done.returncode == 0, done.stderr
    free, said = done.stdout.split(maxsplit=1)
    assert int(free) > 3
    assert said == "{True}\n"


def test_it_runs_without_a_folder_for_temporary_files(
    link: SignerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert isinstance(Signer(link).ask(Hello()), HelloAnswer)


CLOSED = """
    import os, socket, tempfile
    from nomos._io.signer import Signer, shared
    from nomos._protocol import Delegate, GenerateKey, GenerateKeyAnswer, Hello
    from nomos._protocol import HelloAnswer, LoadKey
    signer = Signer(shared())
    key = signer.ask(GenerateKey()).key
    os.closerange(3, 256)
    mine = [tempfile.TemporaryFile() for _ in range(60)] if {reused} else []
    assert isinstance(signer.ask(LoadKey(seed="00" * 31 + "01")), object)
    assert isinstance(signer.ask(Hello()), HelloAnswer)
    for file in mine:
        assert os.fstat(file.fileno()).st_size == 0, "something was written to a file of others"
        file.close()
    print("works")
"""


@pytest.mark.parametrize("reused", [False, True])
def test_a_program_may_close_every_descriptor(reused: bool) -> None:  # noqa: FBT001
    done = run(CLOSED.format(reused=reused))
    assert (done.returncode, done.stdout) == (0, "works\n"), done.stderr


def test_a_daemon_may_fork_twice_and_close_every_descriptor(tmp_path: Path) -> None:
    report = tmp_path / "report"
    done = run(f"""
        import os
        from nomos._io.signer import Signer, shared
        from nomos._protocol import GenerateKey, Hello, HelloAnswer
        signer = Signer(shared())
        signer.ask(GenerateKey())
        first = os.fork()
        if first == 0:
            os.setsid()
            if os.fork() > 0:
                os._exit(0)
            os.closerange(0, 256)
            for number in range(3):
                os.open("/dev/null", os.O_RDWR)
            answer = signer.ask(Hello())
            with open({str(report)!r} + ".part", "w") as file:
                file.write(type(answer).__name__)
            os.rename({str(report)!r} + ".part", {str(report)!r})
            os._exit(0)
        os.waitpid(first, 0)
        assert isinstance(signer.ask(Hello()), HelloAnswer)
    """)
    assert done.returncode == 0, done.stderr
    end = time.monotonic() + 30
    while not report.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert report.read_text() == "HelloAnswer"


@pytest.mark.parametrize("before", [False, True])
def test_greenlets_of_a_forked_worker_do_not_block_each_other(before: bool) -> None:  # noqa: FBT001
    """As gunicorn does with `--preload -k gevent`: load, fork, patch, serve."""
    done = run(f"""
        import os
        from nomos._io.signer import Signer, shared
        from nomos._protocol import GenerateKey, Hello, HelloAnswer
        signer = Signer(shared())
        if {before}:
            signer.ask(GenerateKey())
        worker = os.fork()
        if worker == 0:
            from gevent import monkey
            monkey.patch_all()
            import gevent
            asking = [gevent.spawn(signer.ask, Hello()) for _ in range(8)]
            gevent.joinall(asking, timeout=20)
            os._exit(0 if all(isinstance(each.value, HelloAnswer) for each in asking) else 1)
        print(os.waitpid(worker, 0)[1], type(signer.ask(Hello())).__name__)
    """)
    assert (done.returncode, done.stdout) == (0, "0 HelloAnswer\n"), done.stderr


def test_a_descriptor_reused_by_other_code_is_neither_used_nor_closed(tmp_path: Path) -> None:
    ours = Descriptor(os.open(tmp_path, os.O_RDONLY))
    os.close(ours.number)
    assert not ours.valid()
    theirs = os.open(__file__, os.O_RDONLY)
    assert theirs == ours.number
    assert not ours.valid()
    ours.close()
    os.fstat(theirs)  # still open
    os.close(theirs)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -ILL $$", "SIGILL: this processor lacks instructions"),
        ("kill -KILL $$", "SIGKILL: it was killed"),
        ("kill -ABRT $$", "SIGABRT: it could not reserve memory.*ulimit -v"),
        ("kill -USR1 $$", r"SIGUSR1\)"),
        ("exit 127", r"exit status 127\): the file may be damaged"),
    ],
)
def test_the_error_has_how_the_binary_ended(tmp_path: Path, script: str, words: str) -> None:
    path = tmp_path / "nomos-ucan"
    path.write_text(f"#!/bin/sh\nulimit -c 0\n{script}\n")
    path.chmod(0o755)
    with pytest.raises(SignerCrashed, match=words) as raised:
        Signer(SignerConnection(path)).ask(Hello())
    assert "nomos doctor" not in str(raised.value)


@pytest.mark.parametrize("code", [*signer_sandbox._SCARCE, *signer_sandbox._UNUSABLE, 5])
def test_the_error_has_why_the_binary_could_not_be_started(code: int) -> None:
    error = signer_sandbox.not_started(Path("/b"), OSError(code, os.strerror(code)))
    assert isinstance(error, BinaryNotFound) is (code not in signer_sandbox._SCARCE)
    assert "/b could not be started: " in str(error)


def test_signals_have_names() -> None:
    assert "signal 999" in str(signer_sandbox.ended_early(Path("/b"), -999))
    assert str(signer_sandbox.ended_early(Path("/b"), None)).endswith("while it was starting")


def test_a_key_survives_closed_descriptors(link: SignerConnection) -> None:
    signer = Signer(link)
    signer.ask(LoadKey(seed=SEED))
    process = link.running()
    assert process is not None
    os.close(process._to.number)
    made = signer.ask(GenerateKey())
    assert isinstance(made, GenerateKeyAnswer)
    assert link.restarts == 1
