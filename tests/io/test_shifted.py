"""Replies that belong to another request, on real sockets: all are refused."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import httpx
import pytest

from nomos._core.effects import HttpReply, Send
from nomos._core.reply_identity import ReplyMismatch
from nomos._io import excess_bytes
from nomos._io.http import AsyncHttp, Endpoint, Http
from nomos.errors import ControlPlaneError, InvalidResponse, Unreachable

POST: Final = Send("POST", "/v1/authorize", {}, b"{}")


@dataclass
class Wire:
    """What arrives on each connection, and what to send for the request of that number."""

    answer: Callable[[int, str], bytes]
    url: str = ""
    connections: int = 0
    requests: int = 0
    ids: list[str] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        file = connection.makefile("rb")
        try:
            while line := file.readline():
                assert line.startswith((b"POST", b"GET"))
                headers = dict[str, str]()
                while (header := file.readline().strip().decode()) != "":
                    name, _, value = header.partition(": ")
                    headers[name.lower()] = value
                file.read(int(headers.get("content-length", 0)))
                self.requests += 1
                self.ids.append(headers["nomos-call-id"])
                connection.sendall(self.answer(self.requests, headers["nomos-call-id"]))
        except OSError:
            pass
        finally:
            file.close()
            connection.close()


@contextmanager
def wire(answer: Callable[[int, str], bytes]) -> Iterator[Wire]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plane = Wire(answer, f"http://127.0.0.1:{listener.getsockname()[1]}")

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                plane.connections += 1
                threading.Thread(target=plane.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield plane
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def message(body: dict[str, Any], *, status: str = "200 OK", length: int | None = None) -> bytes:
    content = json.dumps(body).encode()
    size = len(content) if length is None else length
    return f"HTTP/1.1 {status}\r\ncontent-length: {size}\r\n\r\n".encode() + content


def always(content: bytes) -> Callable[[int, str], bytes]:
    return lambda *_: content


def endpoint(url: str) -> Endpoint:
    return Endpoint(url, api_key=None, timeout=5)


Outcome = HttpReply | ControlPlaneError


def threads(url: str, count: int) -> list[Outcome]:
    http, found = Http(endpoint(url)), list[Outcome]()
    for _ in range(count):
        try:
            found.append(http.send(POST))
        except ControlPlaneError as error:
            found.append(error)
    http.close()
    return found


def tasks(backend: str) -> Callable[[str, int], list[Outcome]]:
    async def go(url: str, count: int) -> list[Outcome]:
        http, found = AsyncHttp(endpoint(url)), list[Outcome]()
        for _ in range(count):
            try:
                found.append(await http.send(POST))
            except ControlPlaneError as error:
                found.append(error)
        await http.close()
        return found

    return lambda url, count: anyio.run(go, url, count, backend=backend)


WAYS: Final = [
    pytest.param(threads, id="sync"),
    pytest.param(tasks("asyncio"), id="asyncio"),
    pytest.param(tasks("trio"), id="trio"),
]


def numbers(found: list[Outcome]) -> list[object]:
    return [
        json.loads(each.body)["n"] if isinstance(each, HttpReply) else type(each) for each in found
    ]


@pytest.mark.parametrize("way", WAYS)
def test_a_reply_with_its_call_id_is_accepted_and_its_connection_kept(
    way: Callable[[str, int], list[Outcome]],
) -> None:
    with wire(lambda n, call: message({"n": n, "callId": call})) as plane:
        assert numbers(way(plane.url, 3)) == [1, 2, 3]
    assert plane.connections == 1
    assert len(set(plane.ids)) == 3


@pytest.mark.parametrize("way", WAYS)
def test_a_repeated_reply_is_not_used_for_the_next_request(
    way: Callable[[str, int], list[Outcome]],
) -> None:
    with wire(lambda n, call: message({"n": n, "callId": call}) * 2) as plane:
        assert numbers(way(plane.url, 4)) == [1, 2, 3, 4]
    assert plane.connections == 4


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("extra", [b"\r\n", b"x", b"HTTP/1.1 200 OK\r\n", b"0\r\n\r\n"])
def test_a_connection_with_bytes_left_over_is_dropped(
    way: Callable[[str, int], list[Outcome]], extra: bytes
) -> None:
    with wire(lambda n, call: message({"n": n, "callId": call}) + extra) as plane:
        assert numbers(way(plane.url, 2)) == [1, 2]
    assert plane.connections == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_reply_to_another_request_is_refused_and_the_next_one_is_not_shifted(
    way: Callable[[str, int], list[Outcome]],
) -> None:
    def shifted(n: int, call: str) -> bytes:
        first = plane.ids[0] if n == 2 else call
        return message({"decision": "allow", "n": n, "callId": first})

    with wire(shifted) as plane:
        assert numbers(way(plane.url, 3)) == [1, ReplyMismatch, 3]
    assert plane.connections == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"decision": "allow"}, "200 OK"),
        ({"decision": "allow", "callId": None}, "200 OK"),
        ({"decision": "allow", "callId": ["x"]}, "200 OK"),
        ({"decision": "deny", "request_id": "req_1"}, "200 OK"),
        ({"error": "no", "error_code": "not_found"}, "404 Not Found"),
        ({"error": "no", "error_code": "not_found", "callId": "other"}, "404 Not Found"),
        ({"callId": "other"}, "503 Busy"),
    ],
)
def test_a_reply_that_does_not_name_its_request_is_refused(
    way: Callable[[str, int], list[Outcome]], body: dict[str, Any], status: str
) -> None:
    with wire(always(message(body, status=status))) as plane:
        (found,) = way(plane.url, 1)
    assert isinstance(found, InvalidResponse)
    assert "callId" in str(found)


@pytest.mark.parametrize("way", WAYS)
def test_a_proxys_own_error_is_an_error(way: Callable[[str, int], list[Outcome]]) -> None:
    page = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>"
    with wire(always(page)) as plane:
        (found,) = way(plane.url, 1)
    assert isinstance(found, HttpReply)
    assert found.status == 502


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}garbage",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"nonsense\r\n\r\n",
    ],
)
def test_broken_framing_is_an_error(way: Callable[[str, int], list[Outcome]], raw: bytes) -> None:
    with wire(always(raw)) as plane:
        (found,) = way(plane.url, 1)
    assert isinstance(found, Unreachable)


@pytest.mark.parametrize("way", WAYS)
def test_a_short_length_cuts_the_reply_off_and_ends_the_connection(
    way: Callable[[str, int], list[Outcome]],
) -> None:
    def short(n: int, call: str) -> bytes:
        body = {"n": n, "callId": call}
        return message(body, length=len(json.dumps(body)) - (1 if n == 1 else 0))

    with wire(short) as plane:
        first, second = way(plane.url, 2)
    assert isinstance(first, HttpReply)
    assert not first.body.endswith(b"}")  # which is not JSON, so it is not read as a reply
    assert numbers([second]) == [2]
    assert plane.connections == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_reply_of_http_1_0_is_read_to_its_end(
    way: Callable[[str, int], list[Outcome]],
) -> None:
    def old(n: int, call: str) -> bytes:
        return message({"n": n, "callId": call}).replace(b"HTTP/1.1", b"HTTP/1.0", 1)

    with wire(old) as plane:
        assert numbers(way(plane.url, 2)) == [1, 2]
    assert plane.connections == 2


@pytest.mark.parametrize("way", WAYS)
def test_without_access_to_the_buffer_no_connection_is_reused(
    way: Callable[[str, int], list[Outcome]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excess_bytes, "_INWARD", ())
    with wire(lambda n, call: message({"n": n, "callId": call}) * 2) as plane:
        assert numbers(way(plane.url, 3)) == [1, 2, 3]
    assert plane.connections == 3


def test_a_response_of_another_library_has_an_unknown_buffer() -> None:
    assert excess_bytes.state_after(httpx.Response(200, content=b"{}")) == "unknown"


@pytest.mark.parametrize(
    "start",
    [b'{"callId": "another-one-of-32-letters"}\n', b"{}\n", b"x" * 400, b""],
)
def test_a_stream_must_begin_with_its_call_id(start: bytes) -> None:
    content = start + b'{"row": 1}\n'
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(content), content)
    with wire(always(raw)) as plane:
        http = Http(endpoint(plane.url))
        with pytest.raises(ReplyMismatch), http.stream(POST) as (_, pieces):
            list(pieces)
        with pytest.raises(ReplyMismatch), http.stream(POST) as (_, pieces):
            list(pieces)
        http.close()
    assert plane.connections == 2


def test_the_call_id_line_is_removed_from_a_stream() -> None:
    def lines(n: int, call: str) -> bytes:
        content = json.dumps({"callId": call}).encode() + b'\n{"row": 1}\n'
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(content), content)

    with wire(lines) as plane:
        http = Http(endpoint(plane.url))
        for _ in range(2):
            with http.stream(POST) as (_, pieces):
                assert b"".join(pieces) == b'{"row": 1}\n'
        http.close()
    assert plane.connections == 1
