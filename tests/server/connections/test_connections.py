"""Hostile connections to a listener, and service to the others meanwhile."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest
from listeners import HEAD, Listener, get, listening, rest

from nomos.server.connections.limits import ConnectionLimits
from nomos.server.connections.protocol import Connection
from nomos.server.connections.table import SPARED_SECONDS

QUICK = ConnectionLimits(connections=40, head=0.6, body=1.2, rate=4096, idle=2.0, write=0.6)


@pytest.fixture(scope="module")
def quick() -> Iterator[Listener]:
    with listening(QUICK, ("nomos.internal",)) as found:
        yield found


@pytest.fixture(scope="module")
def patient() -> Iterator[Listener]:
    with listening(ConnectionLimits(connections=40)) as found:
        yield found


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply else 0


def ends_with(made: socket.socket, end: bytes) -> bool:
    """Read one reply."""
    found = b""
    while not found.endswith(end):
        chunk = made.recv(65536)
        if not chunk:
            return False
        found += chunk
    return True


# Which requests

CHUNKED = "Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 5\r\n{CHUNKED}\r\n0\r\n\r\n",
        f"POST / HTTP/1.1\r\n{HEAD}{CHUNKED}Content-Length: 5\r\n\r\n0\r\n\r\n",
        f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
        f"POST / HTTP/1.1\r\n{HEAD}Content-Length : 0\r\n\r\n",
        f"GET / HTTP/1.1\r\n{HEAD}A: b\r\n c\r\n\r\n",
        f"GET / HTTP/1.1\n{HEAD}\n",
        f"GET http://localhost/ HTTP/1.1\r\n{HEAD}\r\n",
        f"GET / HTTP/1.1\r\n{HEAD}{HEAD}\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        f"GET / HTTP/1.1\r\n{HEAD}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_ambiguous_requests_are_refused_and_the_connection_closed(
    patient: Listener, head: str
) -> None:
    before = len(patient.app.seen)
    reply = patient.ask(head.encode() + SMUGGLED)
    assert status(reply) == 400
    assert reply.count(b"HTTP/1.1 ") == 1
    body = json.loads(reply.partition(b"\r\n\r\n")[2])
    assert body["error_code"] == "invalid_request"
    assert body["request_id"].startswith("req_")
    assert b"connection: close" in reply
    assert len(patient.app.seen) == before


def test_a_bad_request_after_a_good_one_is_refused_after_the_answer(patient: Listener) -> None:
    bad = f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply = patient.ask(get("/first") + bad.encode() + SMUGGLED)
    assert b"/first 0" in reply
    assert b"HTTP/1.1 400 " in reply
    assert b"smuggled" not in reply


def test_a_malformed_body_is_refused(patient: Listener) -> None:
    head = f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    assert status(patient.ask(head.encode() + b"zz\r\n")) == 400
    until(lambda: patient.app.left > 0)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.0.0.1:1", "[::1]:8788", "LOCALHOST"]
)
def test_loopback_names_and_named_hosts_are_answered(quick: Listener, host: str) -> None:
    asked = "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n"
    assert status(quick.ask(asked.format(host).encode())) == 200
    assert status(quick.ask(asked.format("Nomos.Internal:8443").encode())) == 200
    assert status(quick.ask(b"GET / HTTP/1.0\r\n\r\n")) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8788",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "nomos.internal.evil.example",
        "localhost@evil.example",
        "127.1",
        "2130706433",
        "10.0.0.1",
        "[::ffff:10.0.0.1]",
        "",
        "localhost:x",
        "localhost, evil.example",
    ],
)
def test_other_hosts_are_refused_on_both_listeners(quick: Listener, host: str) -> None:
    asked = f"GET /pages HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    before = len(quick.app.seen)
    for port in (quick.port, quick.other):
        reply = quick.ask(asked, port)
        assert status(reply) == 421
        assert json.loads(reply.partition(b"\r\n\r\n")[2])["error_code"] == "invalid_request"
    assert len(quick.app.seen) == before


# How long


def test_idle_and_incomplete_heads_time_out(quick: Listener) -> None:
    with quick.connect() as silent, quick.connect(b"GET / HTTP/1.1\r\n") as half:
        assert rest(silent) == b""
        assert status(rest(half)) == 408


def test_a_slow_head_times_out(quick: Listener) -> None:
    with quick.connect() as made:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for letter in get("/" + "a" * 1000):
                made.send(bytes([letter]))
                time.sleep(0.02)
        assert time.monotonic() - began < 10
        with contextlib.suppress(OSError):
            assert status(rest(made)) in (0, 408)


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_slow_or_stalled_body_times_out(quick: Listener, framing: str) -> None:
    left = quick.app.left
    head = f"POST / HTTP/1.1\r\n{HEAD}{framing}\r\n\r\n".encode()
    with quick.connect(head) as made:
        assert status(rest(made)) == 408
    until(lambda: quick.app.left > left)


def test_an_answered_request_with_an_endless_body_times_out(quick: Listener) -> None:
    head = f"POST /early HTTP/1.1\r\n{HEAD}Content-Length: 1000000\r\n\r\n".encode()
    with quick.connect(head) as made:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 8:
                made.send(b"a")
                time.sleep(0.05)
        assert time.monotonic() - began < 8


def test_idle_connections_are_kept_a_while_and_then_closed(quick: Listener) -> None:
    with quick.connect(get("/one")) as made:
        assert ends_with(made, b"/one 0")
        time.sleep(2 * QUICK.head)
        made.sendall(get("/two"))
        assert ends_with(made, b"/two 0")
        assert rest(made) == b""


def test_a_client_that_does_not_read_its_answer_is_dropped(quick: Listener) -> None:
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect(("127.0.0.1", quick.port))
        made.sendall(get("/large"))
        time.sleep(4 * QUICK.write)
        made.settimeout(10)
        assert len(rest(made)) < 32_000_000


def slow_reader(port: int, requests: int) -> socket.socket:
    """A client that is sent more than fits on the way, and has not begun to read it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    made.settimeout(10)
    made.sendall(get("/large") * requests)
    return made


@pytest.mark.parametrize(
    ("left", "taken", "more", "ended"),
    [
        (100_000, 1, 0, True),
        (100_000, 2400, 0, True),
        (100_000, 2400, 50_000, True),
        (100_000, 2500, 50_000, False),
        (1000, 1000, 50_000, False),
    ],
)
def test_a_client_has_to_read_at_the_least_rate(
    left: int, taken: int, more: int, *, ended: bool
) -> None:
    """A byte now and then is progress; a connection is not held by that.

    `more` is another reply that was written meanwhile: the unread
    rest grows by it, and the connection is not closed for that.
    """
    transport, loop = Mock(), Mock()
    connection = object.__new__(Connection)
    vars(connection).update(transport=transport, loop=loop, _limits=QUICK, _writing=None)
    connection._counted = Mock(written=1_000_000)
    transport.get_write_buffer_size.return_value = left
    connection._watch_writing()
    _, check, due = loop.call_later.call_args[0]
    connection._counted.written += more
    transport.get_write_buffer_size.return_value = left + more - taken
    check(due)
    assert transport.abort.called is ended


def test_a_client_that_reads_in_time_gets_all_of_a_large_answer(quick: Listener) -> None:
    found, began = 0, time.monotonic()
    with quick.connect(get("/large")) as made:
        while found < 32_000_000:
            chunk = made.recv(131_072)
            assert chunk, "the connection ended early"
            found += len(chunk)
            time.sleep(QUICK.write / 100)
    assert time.monotonic() - began > QUICK.write


def test_clients_that_do_not_read_make_room_for_others() -> None:
    with listening(ConnectionLimits(connections=8)) as few, contextlib.ExitStack() as opened:
        for _ in range(8):
            opened.enter_context(slow_reader(few.port, 5))
        until(lambda: len(few.app.seen) >= 8)
        time.sleep(SPARED_SECONDS["unread"] + 0.2)
        assert b"/other 0" in few.fetch("/other")


def test_a_held_reply_does_not_time_out(quick: Listener) -> None:
    holding = quick.app.holding
    with quick.connect(get("/hold", "Connection: close")) as made:
        until(lambda: quick.app.holding > holding)
        time.sleep(2 * QUICK.body)
        quick.loop.call_soon_threadsafe(quick.app.release.set)
        assert b"/hold 0" in rest(made)
    quick.app.release.clear()


# Half-closed


def test_a_client_that_closes_its_half_is_answered(patient: Listener) -> None:
    holding = patient.app.holding
    requests = {
        "/quick": get("/quick"),
        "/body": f"POST /body HTTP/1.1\r\n{HEAD}Content-Length: 3\r\n\r\nabc".encode(),
        "/hold": get("/hold"),
    }
    for path, request in requests.items():
        with patient.connect(request) as made:
            made.shutdown(socket.SHUT_WR)
            if path == "/hold":
                until(lambda: patient.app.holding > holding)
                patient.loop.call_soon_threadsafe(patient.app.release.set)
            reply = rest(made)
        assert status(reply) == 200
        assert path.encode() in reply
    patient.app.release.clear()


def test_requests_before_the_end_are_all_answered(patient: Listener) -> None:
    with patient.connect(get("/1") + get("/2") + get("/3") + b"GET /ha") as made:
        made.shutdown(socket.SHUT_WR)
        reply = rest(made)
    assert [f"/{n} 0".encode() in reply for n in (1, 2, 3)] == [True] * 3
    assert reply.count(b"HTTP/1.1 ") == 3


def test_an_incomplete_request_at_the_end_of_a_connection_is_dropped(patient: Listener) -> None:
    left, seen = patient.app.left, len(patient.app.seen)
    for half in (
        b"",
        b"GET / HT",
        f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 3\r\n\r\nab".encode(),
    ):
        with patient.connect(half) as made:
            made.shutdown(socket.SHUT_WR)
            assert rest(made) == b""
    until(lambda: patient.app.left == left + 1)
    assert len(patient.app.seen) == seen + 1


# How much


def test_small_chunks_are_refused_without_delaying_others(patient: Listener) -> None:
    head = f"POST / HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError), patient.connect(head) as made:
                while not stop.is_set():
                    made.sendall(b"1\r\na\r\n" * 10_000)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        took = []
        for _ in range(20):
            began = time.monotonic()
            assert b"/ok 0" in patient.fetch("/ok")
            took.append(time.monotonic() - began)
        assert sorted(took)[10] < 1.0
    finally:
        stop.set()
        thread.join()


def test_requests_sent_ahead_are_bounded(patient: Listener) -> None:
    holding, seen = patient.app.holding, len(patient.app.seen)
    with patient.connect(get("/hold")) as made:
        until(lambda: patient.app.holding > holding)
        made.settimeout(1)
        with contextlib.suppress(OSError):
            for _ in range(2000):
                made.sendall(get("/ahead") * 200)
        assert len(patient.app.seen) == seen + 1
    patient.loop.call_soon_threadsafe(patient.app.release.set)
    until(lambda: b"/ok 0" in patient.fetch("/ok"))
    patient.app.release.clear()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"body"])
def test_stalled_connections_make_room(
    patient: Listener, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    if sent == b"body":
        sent = f"POST / HTTP/1.1\r\n{HEAD}Content-Length: 10\r\n\r\n".encode()
    with contextlib.ExitStack() as open_ones, caplog.at_level(logging.INFO):
        for _ in range(3 * 40):
            open_ones.enter_context(patient.connect(sent))
        for _ in range(5):
            assert b"/ok 0" in patient.fetch("/ok")
            assert b"/ok 0" in patient.fetch("/ok", patient.other)
        assert len(caplog.records) < 50
        assert not any(record.exc_info for record in caplog.records)


def test_idle_connections_make_room_at_once(patient: Listener) -> None:
    with contextlib.ExitStack() as open_ones:
        for _ in range(60):
            made = open_ones.enter_context(patient.connect(get("/idle")))
            assert ends_with(made, b"/idle 0")


def test_requests_beyond_the_limit_are_queued_without_blocking_the_other_listener(
    patient: Listener,
) -> None:
    replies: list[bytes] = []
    holding = patient.app.holding
    threads = [
        threading.Thread(target=lambda: replies.append(patient.fetch("/hold"))) for _ in range(120)
    ]
    for thread in threads:
        thread.start()
    until(lambda: patient.app.holding >= holding + 40)
    assert b"/ok 0" in patient.fetch("/ok", patient.other)
    patient.loop.call_soon_threadsafe(patient.app.release.set)
    for thread in threads:
        thread.join()
    assert [status(reply) for reply in replies] == [200] * 120
    patient.app.release.clear()
