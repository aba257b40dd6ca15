"""A persistent replay store, on each supported database."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from vectors.forge import NOW
from verifiers import TO_WRITE, WRITE, VerifierKind, in_child

from nomos.errors import ConfigurationError
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.replay import SqlReplayStore

SECRET = "hunter2hunter2"
SOON = int(time.time()) + 7200

RACE = """
import sys, time
from nomos.server.storage.replay import SqlReplayStore
url, at, ends = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
with SqlReplayStore(url) as store:
    time.sleep(max(0, at - time.time()))
    print("".join(str(int(store.claim("i", "a", f"n{n}", ends))) for n in range(200)))
"""


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, on loopback."""
    if importlib.util.find_spec("psycopg") is None or shutil.which("initdb") is None:
        pytest.skip("needs psycopg, and PostgreSQL's initdb and pg_ctl on PATH")
    # Not under pytest's folder, which only its owner may enter: it does not run as root,
    # and Debian's package brings a user for it.
    with tempfile.TemporaryDirectory() as folder:
        user = "postgres" if os.geteuid() == 0 else None
        if user is not None:
            shutil.chown(folder, user)
        data = str(Path(folder, "data"))

        def run(*command: str) -> None:
            quiet = subprocess.DEVNULL
            subprocess.run(command, check=True, stdout=quiet, user=user, cwd="/")

        run("initdb", "-D", data, "-A", "trust", "-U", "nomos")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        run("pg_ctl", "-D", data, "-o", options, "-l", str(Path(folder, "log")), "-w", "start")
        try:
            yield f"postgresql+psycopg://nomos@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "used.db")
    found = str(request.getfixturevalue("postgres"))
    with (
        SqlReplayStore(found) as store,
        store._database.use() as engine,
        engine.begin() as connection,
    ):
        connection.exec_driver_sql("DROP TABLE nonces, nonces_spans, nonces_forgotten")
    return found


def test_claims_survive_a_restart(url: str) -> None:
    with SqlReplayStore(url) as store:
        assert store.claim("i", "a", "n", SOON)
        assert not store.claim("i", "a", "n", SOON)
    with SqlReplayStore(url) as again:
        assert not again.claim("i", "a", "n", SOON)
        assert again.claim("i", "b", "n", SOON)
        assert again.claim("j", "a", "n", SOON)


def test_two_processes_race_and_each_use_has_one_winner(url: str) -> None:
    at = time.time() + 2
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, url, str(at), str(SOON)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ended = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    one, other = ended
    assert len(one) == len(other) == 200
    assert all({a, b} == {"0", "1"} for a, b in zip(one, other, strict=True))


def test_threads_share_one_store(url: str) -> None:
    with SqlReplayStore(url) as store, ThreadPoolExecutor(8) as threads:
        nonces = [f"n{number}" for number in range(25)] * 4
        won = list(threads.map(lambda nonce: store.claim("i", "a", nonce, SOON), nonces))
        assert sum(won) == 25


def closing(store: SqlReplayStore) -> str:
    store.close()
    store.close()
    return str(store.claim("i", "a", "n", SOON))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_store_works_on_both_sides_of_a_fork(url: str) -> None:
    with SqlReplayStore(url) as store:
        assert store.claim("i", "a", "parent", SOON)

        def child() -> str:
            claimed = [store.claim("i", "a", nonce, SOON) for nonce in ("parent", "child")]
            store.close()
            return str(claimed)

        assert in_child(child) == "[False, True]"
        assert "closed" in in_child(lambda: closing(store))
        assert not store.claim("i", "a", "child", SOON)
        assert store.claim("i", "a", "parent again", SOON)


FORKED = """
import os, sys, time
from nomos.server.storage.replay import SqlReplayStore
url, ends, parent = sys.argv[1], int(sys.argv[2]), os.getpid()
store = SqlReplayStore(url)
assert store.claim("i", "a", "parent", ends)
read, write = os.pipe()
if os.fork():
    os.read(read, 1)  # until the child has used it beside us
    sys.exit()
print(store.claim("i", "a", "parent", ends), store.claim("i", "a", "child", ends), flush=True)
os.write(write, b"x")
while os.getppid() == parent:
    time.sleep(0.01)
print(store.claim("i", "a", "orphan", ends), flush=True)
"""


def test_claims_of_a_forked_child_survive_its_parent(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, url, str(SOON)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["False", "True", "True"]
    with SqlReplayStore(url) as later:
        used = [later.claim("i", "a", nonce, SOON) for nonce in ("parent", "child", "orphan")]
    assert used == [False, False, False]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_waits_for_the_claim_that_another_thread_makes(tmp_path: Path) -> None:
    with SqlReplayStore(tmp_path / "used.db") as store, ThreadPoolExecutor(2) as threads:
        going = threading.Event()

        def claims(name: str) -> int:
            count = 0
            while not going.is_set():
                count += store.claim("i", "a", f"{name}{count}", SOON)
            return count

        busy = [threads.submit(claims, name) for name in "xy"]
        for number in range(20):
            nonce = f"child {number}"
            assert in_child(lambda nonce=nonce: str(store.claim("i", "a", nonce, SOON))) == "True"
            assert not store.claim("i", "a", nonce, SOON)
        going.set()
        assert min(one.result(timeout=60) for one in busy) > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_cannot_be_closed_is_used_by_the_parent_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    with SqlReplayStore(tmp_path / "used.db") as store:
        assert store.claim("i", "a", "n", SOON)
        with monkeypatch.context() as broken:
            broken.setattr(sa.Engine, "dispose", fail)
            answers = in_child(lambda: str(store.claim("i", "a", "m", SOON)))
        assert "in each process" in answers
        assert not store.claim("i", "a", "n", SOON)
        assert store.claim("i", "a", "m", SOON)


def test_a_file_open_during_a_foreign_fork_is_not_used(tmp_path: Path) -> None:
    with SqlReplayStore(tmp_path / "used.db") as store:
        assert store.claim("i", "a", "n", SOON)
        store._database.in_child()  # as for a server that forks without telling Python before
        with pytest.raises(StorageUnavailable, match="in each process"):
            store.claim("i", "a", "m", SOON)
        store._database._left_behind.pop().dispose()


def test_expired_nonces_are_deleted_and_refused(url: str) -> None:
    now = [1_000.0]
    with SqlReplayStore(url, clock=lambda: now[0]) as store:
        assert store.claim("i", "a", "old", 1_000)
        now[0] = 1_121
        for number in range(32):
            assert store.claim("i", "a", f"n{number}", 2_000)
        with store._database.use() as engine, engine.begin() as connection:
            kept = connection.exec_driver_sql("SELECT count(*) FROM nonces").scalar_one()
        assert kept == 32
        with pytest.raises(StorageUnavailable, match="clocks"):
            store.claim("i", "a", "old", 1_000)


def test_nonces_deleted_by_a_clock_that_was_ahead_are_refused(url: str) -> None:
    now = [1_000.0]
    with SqlReplayStore(url, clock=lambda: now[0]) as store:
        assert store.claim("i", "a", "used", 1_060)
        assert store.claim("i", "a", "kept", 9_000)
        now[0] = 5_000
        for number in range(32):
            assert store.claim("i", "a", f"n{number}", 9_000)
        now[0] = 1_000
        for nonce in ("used", "another"):
            with pytest.raises(StorageUnavailable, match="clocks"):
                store.claim("i", "a", nonce, 1_060)
        assert not store.claim("i", "a", "kept", 9_000)
        assert store.claim("i", "a", "another", 1_061)
    with SqlReplayStore(url, clock=lambda: now[0]) as again:
        with pytest.raises(StorageUnavailable, match="clocks"):
            again.claim("i", "a", "used", 1_060)
        now[0] = 1_200
        for number in range(32):
            assert again.claim("i", "a", f"m{number}", 9_000)
        now[0] = 1_000
        with pytest.raises(StorageUnavailable, match="clocks"):
            again.claim("i", "a", "used", 1_060)


def test_claims_work_after_a_clock_was_years_ahead(url: str) -> None:
    now, years = [1_000_000.0], 10 * 365 * 86_400
    with SqlReplayStore(url, clock=lambda: now[0]) as store:
        assert store.claim("i", "a", "used", 1_000_060)
        for ahead in (years, years + 3600):
            now[0] = 1_000_000.0 + ahead
            for number in range(100):
                assert store.claim("i", "a", f"{ahead}.{number}", int(now[0]) + 60)
        now[0] = 1_000_000
        with pytest.raises(StorageUnavailable, match="clock was ahead"):
            store.claim("i", "a", "used", 1_000_060)
        assert store.claim("i", "a", "new", 1_000_061)


OLDER = """
CREATE TABLE nonces (issuer VARCHAR(128) NOT NULL, audience VARCHAR(128) NOT NULL,
  nonce VARCHAR(256) NOT NULL, expires_at BIGINT NOT NULL,
  CONSTRAINT pk_nonces PRIMARY KEY (issuer, audience, nonce));
CREATE INDEX ix_nonces_expires_at ON nonces (expires_at);
CREATE TABLE nonces_forgotten (id SMALLINT NOT NULL, before BIGINT NOT NULL, PRIMARY KEY (id));
INSERT INTO nonces VALUES ('i', 'a', 'used', 9000);
INSERT INTO nonces_forgotten VALUES (1, 1061);
"""
RAISES = """
INSERT INTO nonces_forgotten VALUES (1, 5000) ON CONFLICT (id) DO UPDATE SET before = 5000
WHERE excluded.before > nonces_forgotten.before
"""


def test_an_older_file_is_upgraded_and_then_refused_by_the_older_version(url: str) -> None:
    def run(statements: str) -> int:
        engine = sa.create_engine(f"sqlite:///{url}" if "://" not in url else url)
        with engine.begin() as connection:
            for statement in statements.split(";"):
                if statement.strip():
                    connection.exec_driver_sql(statement)
            found = int(
                connection.exec_driver_sql("SELECT before FROM nonces_forgotten").scalar_one()
            )
        engine.dispose()
        return found

    assert run(OLDER) == 1061
    for _ in range(2):
        with SqlReplayStore(url, clock=lambda: 1000) as store:
            assert not store.claim("i", "a", "used", 9000)
            with pytest.raises(StorageUnavailable, match="clocks"):
                store.claim("i", "a", "forgotten", 1060)
    with SqlReplayStore(url, clock=lambda: 1000) as store:
        assert store.claim("i", "a", "new", 1061, family="app")
        # It refuses what ends before the time that it reads here, and cannot move that.
        assert run(RAISES) > 2**40


AHEAD = """
import sys, time
from nomos.server.storage.replay import SqlReplayStore
ahead = time.time() + 86_400
with SqlReplayStore(sys.argv[1], clock=lambda: ahead) as store:
    for n in range(40):
        assert store.claim("i", "a", f"n{n}", int(ahead) + 600)
"""


def test_a_process_with_a_clock_ahead_makes_no_nonce_work_twice(url: str) -> None:
    with SqlReplayStore(url) as store:
        assert store.claim("i", "a", "used", SOON)
        assert store.claim("i", "a", "later", SOON + 2 * 86_400)
        subprocess.run([sys.executable, "-c", AHEAD, url], check=True, timeout=60)
        with pytest.raises(StorageUnavailable, match="clocks"):
            store.claim("i", "a", "used", SOON)
        assert not store.claim("i", "a", "later", SOON + 2 * 86_400)
        assert store.claim("i", "a", "new", SOON + 1)


FORGETS = """
import sys, time
from nomos.server.storage.replay import SqlReplayStore
url, at = sys.argv[1], float(sys.argv[2])
late = time.time() + 86_400
with SqlReplayStore(url, clock=lambda: late) as store:
    time.sleep(max(0, at - time.time()))
    for n in range(500):
        store.claim("i", "b", f"{at} {n}", int(late) + 600)
"""


def test_a_nonce_deleted_concurrently_is_refused(url: str) -> None:
    """A claim while two other processes delete rows returns False or raises."""
    used = [f"n{number}" for number in range(300)]
    with SqlReplayStore(url) as store:
        assert all(store.claim("i", "a", nonce, SOON) for nonce in used)
        answers: set[bool | None] = {store.claim("i", "a", used[0], SOON)}
        at = time.time() + 2
        forgetting = [subprocess.Popen([sys.executable, "-c", FORGETS, url, str(at)]) for _ in "ab"]
        time.sleep(max(0, at - time.time()))
        end = time.monotonic() + 60
        while any(one.poll() is None for one in forgetting) and time.monotonic() < end:
            for nonce in used:
                try:
                    answers.add(store.claim("i", "a", nonce, SOON))
                except StorageUnavailable:
                    answers.add(None)
        assert [one.wait(60) for one in forgetting] == [0, 0]
        assert answers == {False, None}


def test_both_kinds_of_verifier_use_the_store(verifier_kind: VerifierKind, tmp_path: Path) -> None:
    path = tmp_path / "used.db"
    with SqlReplayStore(path, clock=lambda: NOW) as store:
        assert verifier_kind.verify(TO_WRITE, WRITE, replay=store)
        assert verifier_kind.denied(TO_WRITE, WRITE, replay=store).code == "replayed"
    assert path.stat().st_mode & 0o777 == 0o600
    closed = verifier_kind.denied(TO_WRITE, WRITE, replay=store)
    assert closed.code == "unavailable"
    store.close()


def test_a_database_error_does_not_contain_the_url(tmp_path: Path) -> None:
    path = tmp_path / "used.db"
    path.write_text("no database" * 1000)
    with SqlReplayStore(f"sqlite:///{path}") as store, pytest.raises(StorageUnavailable) as failed:
        store.claim("i", "a", "n", SOON)
    assert "used.db" not in str(failed.value)
    assert repr(store) == "SqlReplayStore(sqlite)"


def test_an_unusable_file_is_unavailable_without_its_name(tmp_path: Path) -> None:
    folder, link, gone = (tmp_path / f"{name}_{SECRET}" for name in ("folder", "link", "gone"))
    folder.mkdir()
    link.symlink_to(tmp_path / "used.db")
    for url in (folder, link, f"sqlite:///{gone}/used.db", tmp_path / ("long" * 100)):
        with SqlReplayStore(url) as store, pytest.raises(StorageUnavailable) as failed:
            store.claim("i", "a", "n", SOON)
        assert SECRET not in "".join(traceback.format_exception(failed.value))
    assert not (tmp_path / "used.db").exists()


@pytest.mark.parametrize("url", [None, b"used.db", 7, "used\0.db", "sqlite:///used\0.db"])
def test_an_invalid_url_is_a_configuration_error(url: Any) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        SqlReplayStore(url)
    assert wrong.value.setting == "url"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        f"mysql://root:{SECRET}@db/x",
        f"nonsense://x:{SECRET}@db",
        f"://x:{SECRET}@db",
        f"sqlite+aiosqlite:///x?password={SECRET}",
        f"postgresql+nonesuch://x:{SECRET}@db/x",
        "/nowhere/at/all/used.db",
    ],
)
def test_an_unsupported_url_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        SqlReplayStore(url)
    assert wrong.value.setting == "url"
    assert SECRET not in str(wrong.value)
