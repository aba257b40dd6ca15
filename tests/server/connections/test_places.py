"""Limits of connections, which one is closed to make room, and limits of logs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from listeners import get, listening

from nomos.errors import ConfigurationError
from nomos.server.connections import accepting, limits
from nomos.server.connections.accepting import Acceptor
from nomos.server.connections.hosts import host_names
from nomos.server.connections.limits import MOST_CONNECTIONS, ConnectionLimits, share_of
from nomos.server.connections.table import SPARED_SECONDS, ConnectionTable, is_this_machine
from nomos.server.log_limits import (
    BURST,
    MOST_PLACES,
    SECONDS,
    TRACEBACK_SECONDS,
    TRACEBACKS,
    LogLimit,
    limit_logs,
)


@dataclass(eq=False)
class Conn:
    peer: str = "127.0.0.1"
    dropped: bool = False
    unread: bool = False

    def has_unread(self) -> bool:
        return self.unread

    def drop(self) -> None:
        self.dropped = True


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def filled(clock: Clock, *peers: str, most: int = 4) -> tuple[ConnectionTable, list[Conn]]:
    table = ConnectionTable(ConnectionLimits(connections=most), clock)
    made = []
    for peer in peers:
        assert table.make_room()
        made.append(Conn(peer))
        assert table.add(made[-1])
        table.release()
        clock.now += 0.01
    return table, made


def test_idle_connections_are_closed_before_unfinished_ones(clock: Clock) -> None:
    table, (body, head, idle, served) = filled(clock, *["127.0.0.1"] * 4)
    table.move(body, "body")
    table.move(idle, "idle")
    table.move(served, "served")
    clock.now += SPARED_SECONDS["body"]
    for expected in (idle, head, body):
        assert not expected.dropped
        assert table.make_room()
        assert expected.dropped
    assert not served.dropped
    assert len(table) == 4
    assert not table.make_room()


def test_recent_connections_are_not_closed(clock: Clock) -> None:
    table, made = filled(clock, *["127.0.0.1"] * 4)
    assert not table.make_room()
    table.move(made[0], "served")
    table.move(made[0], "idle")
    assert table.make_room()
    assert [each.dropped for each in made] == [True, False, False, False]


def test_the_oldest_silent_connection_goes_first(clock: Clock) -> None:
    table, made = filled(clock, *["127.0.0.1"] * 4)
    clock.now += SPARED_SECONDS["head"] - 0.03
    assert table.make_room()
    assert [each.dropped for each in made] == [True, False, False, False]


def test_a_connection_that_was_not_read_yet_is_not_silent(clock: Clock) -> None:
    table, made = filled(clock, *["127.0.0.1"] * 4)
    made[0].unread = made[1].unread = True
    clock.now += 10
    assert table.make_room()
    assert [each.dropped for each in made] == [False, False, True, False]


def test_one_remote_machine_cannot_hold_all_places(clock: Clock) -> None:
    table, made = filled(clock, "10.0.0.1", "10.0.0.1", "10.0.0.1")
    for each in made:
        table.move(each, "served")
    assert not table.add(Conn("10.0.0.1"))
    assert table.add(Conn("10.0.0.2"))
    table.move(made[0], "idle")
    assert table.add(Conn("10.0.0.1"))
    assert made[0].dropped


def test_this_machine_may_hold_all_places(clock: Clock) -> None:
    table, made = filled(clock, *["::1"] * 4)
    for each in made:
        table.move(each, "served")
    assert len(table) == 4


def test_the_table_reports_free_places(clock: Clock) -> None:
    table, (one, other, *_) = filled(clock, *["127.0.0.1"] * 4)
    notified: list[int] = []
    table.on_room = lambda: notified.append(1)
    table.move(one, "served")
    assert notified == []
    table.move(one, "idle")
    table.remove(other)
    table.remove(other)
    assert len(notified) == 2
    table.remove(Conn())
    assert len(table) == 3


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("", True)),
        *(("10.0.0.1", False), ("fe80::1%eth0", False), ("localhost", False)),
    ],
)
def test_loopback_is_one_address_of_many_clients(peer: str, *, local: bool) -> None:
    assert is_this_machine(peer) is local


@pytest.mark.parametrize(
    ("descriptors", "share"),
    [
        *((1024, 384), (256, 64), (64, 16), (4, 8)),
        *((65_536, MOST_CONNECTIONS), (resource.RLIM_INFINITY, MOST_CONNECTIONS)),
    ],
)
def test_each_listener_leaves_descriptors_for_the_other_and_for_files(
    descriptors: int, share: int
) -> None:
    assert share_of(descriptors) == share


def test_the_limit_of_files_is_raised_where_that_is_possible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: asked.append(wanted))
    for have in ((1024, 4096), (1024, 1 << 20), (1024, 1024), (1 << 20, 1 << 20)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, have=have: have)
        limits.raise_descriptor_limit()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    limits.raise_descriptor_limit()
    most = limits.MOST_DESCRIPTORS
    assert asked == [(4096, 4096), (most, 1 << 20), (most, resource.RLIM_INFINITY)]


def test_a_limit_that_cannot_be_raised_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 20))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    limits.raise_descriptor_limit()


def test_importing_and_embedding_do_not_change_the_limit() -> None:
    script = (
        "import resource; before = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "from nomos import AuthGuard\n"
        "guard = AuthGuard.embedded(policies='permit(principal, action, resource);')\n"
        "where = {'provider': 'filesystem', 'path': ''}\n"
        "guard.authorize(command='/filesystem/dir/list', resource=where)\n"
        "guard.close(); assert resource.getrlimit(resource.RLIMIT_NOFILE) == before\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


# Accepting


class Refusing:
    """A listening socket on which `accept` fails a given number of times."""

    def __init__(self, number: int) -> None:
        self.real = socket.create_server(("127.0.0.1", 0))
        self.number = number
        self.tries = 0

    def accept(self) -> Any:
        self.tries += 1
        raise OSError(self.number, os.strerror(self.number))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


@pytest.fixture(autouse=True)
def _limited() -> None:
    limit_logs()


def test_a_lack_of_descriptors_is_logged_once_and_retried(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    async def work() -> None:
        table, made = filled(clock, "127.0.0.1")
        clock.now += 10
        listener = Refusing(errno.EMFILE)
        acceptor = Acceptor(listener, asyncio.Protocol, table)  # type: ignore[arg-type]
        acceptor.start()
        clock_now = asyncio.get_running_loop().time
        began = clock_now()
        with socket.create_connection(listener.getsockname()[:2]):
            for _ in range(1000):
                await asyncio.sleep(0.05)
                if listener.tries >= 3:
                    break
            assert made[0].dropped
            assert listener.tries <= 1 + (clock_now() - began) / accepting.PAUSE_SECONDS
        acceptor.close()
        acceptor.close()
        await acceptor.wait_closed()
        listener.real.close()
        assert len(table) == 0

    run(work)
    assert 0 < len(caplog.records) <= 3
    assert "ulimit -n" in caplog.text
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL])
def test_a_closed_socket_is_not_retried(number: int, clock: Clock) -> None:
    async def work() -> None:
        table, _ = filled(clock)
        listener = Refusing(number)
        acceptor = Acceptor(listener, asyncio.Protocol, table)  # type: ignore[arg-type]
        acceptor.start()
        with socket.create_connection(listener.getsockname()[:2]):
            await asyncio.sleep(0.05)
        assert listener.tries == 1
        listener.real.close()

    run(work)


SCARCE = """
import resource, sys, threading, time
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
sys.path[:0] = sys.argv[1:]
from listeners import get, listening
from nomos.server.connections.limits import ConnectionLimits
import logging
logging.basicConfig(level=logging.INFO)
with listening(ConnectionLimits(connections=4096)) as found:
    print(found.port, found.other, flush=True)
    sys.stdin.read()
"""


def test_without_free_descriptors_both_listeners_answer_and_the_log_is_short() -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SCARCE, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        port, other = map(int, server.stdout.readline().split())
        with contextlib.ExitStack() as silent:
            for _ in range(200):
                silent.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            for each in (other, port, other, port):
                with socket.create_connection(("127.0.0.1", each), 5) as made:
                    made.settimeout(30)
                    made.sendall(get("/ok", "Connection: close"))
                    assert made.recv(15) == b"HTTP/1.1 200 OK"
        _, log = server.communicate("", timeout=30)
    finally:
        server.kill()
    assert len(log) < 20_000
    assert "Traceback" not in log


# Names


def test_names_of_hosts_are_read_from_settings_and_urls() -> None:
    urls = ("http://127.0.0.1:8788", "https://Nomos.example/x", "http://[::1]:1")
    assert host_names((" A.b ", "10.0.0.1", "[fd00::1]"), *urls) == (
        *("a.b", "10.0.0.1", "fd00::1"),
        *("127.0.0.1", "nomos.example", "::1"),
    )


@pytest.mark.parametrize(
    "name", ["*", "*.example", "http://a", "a:80", "a/b", "", "a b", "a..b", "-", "a\nb", "x" * 300]
)
def test_invalid_host_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="NOMOS_HOST_NAMES"):
        host_names((name,))


def test_the_number_of_host_names_is_bounded() -> None:
    with pytest.raises(ConfigurationError, match="100"):
        host_names(f"a{number}" for number in range(101))


def test_an_ipv6_listener_knows_its_own_address() -> None:
    with listening(ConnectionLimits()) as found:
        assert b" 200 " in found.fetch("/ok")


# Logs


def test_suppressed_log_lines_are_counted(clock: Clock) -> None:
    shown: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    logger = logging.Logger("test")  # noqa: LOG001
    logger.addHandler(Keep())
    logger.addFilter(LogLimit(clock))
    for number in range(1000):
        logger.error("failed %d", number)
    logger.error("another")
    assert shown == [*(f"failed {number}" for number in range(BURST)), "another"]
    clock.now += SECONDS
    for number in (1, 2):
        logger.error("later %d", number)
    assert len(shown) == BURST + 3
    clock.now += 100 * SECONDS

    def again() -> None:
        logger.error("failed %d", 7)

    for _ in range(BURST + 5):
        again()
    clock.now += SECONDS
    again()
    assert shown[-1] == "failed 7 (and 5 times since)"


def test_the_number_of_logged_tracebacks_per_minute_is_bounded(clock: Clock) -> None:
    shown: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    logger = logging.Logger("test")  # noqa: LOG001
    logger.addHandler(Keep())
    logger.addFilter(LogLimit(clock))

    def fail(failure: Exception, count: int = 1) -> None:
        for number in range(count):
            logger.error("it failed: %s", number, exc_info=failure)

    fail(OSError(), 100)
    assert shown == [f"it failed: {number}" for number in range(TRACEBACKS)]
    fail(ValueError())  # another failure at the same place
    logger.error("without a traceback")
    assert len(shown) == TRACEBACKS + 2
    clock.now += TRACEBACK_SECONDS
    fail(OSError(), 2)
    assert shown[TRACEBACKS + 2 :] == [f"it failed: 0 (and {100 - TRACEBACKS} times since)"]
    clock.now += 60
    fail(OSError(), 9)
    assert len(shown) == TRACEBACKS + 3 + 3


def test_places_that_are_remembered_are_bounded(clock: Clock) -> None:
    limit = LogLimit(clock)
    for number in range(5000):
        record = logging.LogRecord("a", logging.ERROR, "f", number, "m", None, None)
        assert limit.filter(record)
    assert len(limit._seen) <= MOST_PLACES


def test_loggers_are_limited_once() -> None:
    logger = logging.getLogger("nomos.server.test_log_limits")
    limit_logs()
    limit_logs()
    assert len(logger.filters) == 1
    # What a PDP says again and again while its control plane is away.
    for name in ("nomos._io.revocation_feed", "nomos._io.control_plane_sync"):
        assert [type(each) for each in logging.getLogger(name).filters] == [LogLimit]
    # What the SDK says in a program with an embedded server is said each time.
    assert not logging.getLogger("nomos").filters
    assert not logging.getLogger("nomos.servers").filters
