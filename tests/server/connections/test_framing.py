"""HTTP framing: unambiguous requests are accepted, all others refused."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nomos._limits import MAX_HEAD
from nomos.server.connections.framing import (
    FREE_CHUNKS,
    MAX_CHUNKED,
    MAX_FIELDS,
    MalformedRequest,
    RequestReader,
)

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/authorize HTTP/1.1\r\nHost: a\r\n"


def read(data: bytes, step: int = 0) -> list[bytes]:
    """The requests that are read from these bytes, which arrive `step` at a time."""
    reader, found, pieces = RequestReader(), [], b""
    for at in range(0, len(data), step or len(data)):
        reader.push(data[at : at + (step or len(data))])
        while True:
            while (piece := reader.next()) is not None:
                pieces += piece
            if not reader.complete:
                break
            found.append(pieces)
            pieces = b""
            reader.restart()
    return found


GOOD = {
    "no body": GET + b"\r\n",
    "http/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "length": POST + b"Content-Length: 3\r\n\r\nabc",
    "length 0": POST + b"Content-Length: 0\r\n\r\n",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "no chunk": POST + b"transfer-encoding: Chunked\r\n\r\n0\r\n\r\n",
    "lf in a body": POST + b"Content-Length: 4\r\n\r\na\nb\r",
    "space around a value": GET + b"A: \t b \t\r\nEmpty:\r\n\r\n",
    "another protocol": GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "expect": POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\na",
}

BAD = {
    "both lengths": (
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "both, the other order": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "two other lengths": (POST + b"Content-Length: 3\r\ncontent-length: 4\r\n\r\nabc", 400),
    "a list of lengths": (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "a sign": (POST + b"Content-Length: +3\r\n\r\nabc", 400),
    "hexadecimal": (POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
    "no length": (POST + b"Content-Length:\r\n\r\n", 400),
    "a huge length": (POST + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n", 400),
    "two codings": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    "chunked in quotes": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n', 501),
    "chunked in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
    "a folded line": (GET + b"A: b\r\n c\r\n\r\n", 400),
    "a folded line with a tab": (GET + b"A: b\r\n\tContent-Length: 3\r\n\r\n", 400),
    "a space before the colon": (POST + b"Content-Length : 3\r\n\r\nabc", 400),
    "a space in a name": (GET + b"Content Length: 3\r\n\r\n", 400),
    "a space before a name": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "no colon": (GET + b"A\r\n\r\n", 400),
    "no name": (GET + b": a\r\n\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "one bare LF": (GET + b"A: b\nContent-Length: 3\r\n\r\n", 400),
    "bare CR": (GET + b"A: b\rContent-Length: 3\r\n\r\n", 400),
    "bare LF at the end": (GET + b"\n\r\n", 400),
    "NUL": (GET + b"A: \0\r\n\r\n", 400),
    "a control character": (GET + b"A: \x01\r\n\r\n", 400),
    "an absolute target": (b"GET http://other.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an authority": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tab": (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "lower case": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "bytes beyond ASCII in a target": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "http/0.9": (b"GET /\r\n\r\n", 400),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\n", 400),
    "http/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (GET + b"Host: a\r\n\r\n", 400),
    "two hosts in 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a web socket": (GET + b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n", 400),
    "many fields": (GET + b"A: b\r\n" * MAX_FIELDS + b"\r\n", 431),
    "a large head": (GET + b"A: " + b"b" * MAX_HEAD + b"\r\n\r\n", 431),
    "an endless head": (GET + b"A: " + b"b" * MAX_HEAD, 431),
    "empty lines for ever": (b"\r\n" * 8 + GET + b"\r\n", 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\n", 400),
}

CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = {
    "an extension": (CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\n", 400),
    "a space": (CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", 400),
    "a sign": (CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n", 400),
    "0x": (CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", 400),
    "no size": (CHUNKED + b"\r\nabc\r\n0\r\n\r\n", 400),
    "a bare LF": (CHUNKED + b"3\nabc\r\n0\r\n\r\n", 400),
    "more than its size": (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400),
    "an end without CR": (CHUNKED + b"3\r\nabc\n0\r\n\r\n", 400),
    "trailers": (CHUNKED + b"0\r\nHost: b\r\n\r\n", 400),
    "a size of nine digits": (CHUNKED + b"000000003\r\nabc\r\n0\r\n\r\n", 400),
    "small chunks": (CHUNKED + b"1\r\na\r\n" * (FREE_CHUNKS + 2), 400),
    "too much": (
        CHUNKED + (b"10000\r\n" + b"a" * 0x10000 + b"\r\n") * (MAX_CHUNKED // 0x10000 + 1),
        413,
    ),
}


@pytest.mark.parametrize("step", [0, 1, 2, 7])
@pytest.mark.parametrize("name", GOOD)
def test_a_request_is_passed_on_unchanged(name: str, step: int) -> None:
    assert read(GOOD[name], step) == [GOOD[name]]


@pytest.mark.parametrize("step", [0, 1, 5])
@pytest.mark.parametrize("name", [*BAD, *BAD_CHUNKS])
def test_malformed_requests_are_refused(name: str, step: int) -> None:
    data, status = (BAD | BAD_CHUNKS)[name]
    if step and len(data) > 1_000_000:
        step = 4096
    with pytest.raises(MalformedRequest) as refused:
        read(data, step)
    assert refused.value.status == status
    assert refused.value.message.isascii()


def test_pipelined_requests_are_separated() -> None:
    sent = [GOOD["length"], GOOD["chunks"], GOOD["no body"]]
    for step in (0, 1, 3, 50):
        assert read(b"".join(sent), step) == sent
    with pytest.raises(MalformedRequest):
        read(b"".join(sent) + BAD["both lengths"][0])


def test_a_smuggled_request_is_the_body_of_the_first() -> None:
    inner = GET + b"\r\n"
    outer = POST + b"Content-Length: %d\r\n\r\n" % len(inner) + inner
    assert read(outer) == [outer]


def test_large_chunks_and_a_few_small_ones_pass() -> None:
    body = b"1\r\na\r\n" * FREE_CHUNKS + (b"400\r\n" + b"b" * 1024 + b"\r\n") * 1000
    sent = CHUNKED + body + b"0\r\n\r\n"
    assert read(sent, 1000) == [sent]


def test_the_progress_of_a_request_is_known() -> None:
    reader = RequestReader()
    assert reader.waits_for_head
    reader.push(GOOD["length"][:-1] + b"")
    assert (reader.next(), reader.waits_for_head, reader.complete) == (
        GOOD["length"][:-3],
        False,
        False,
    )
    assert (reader.next(), reader.body_bytes, reader.next()) == (b"ab", 2, None)
    reader.push(b"c" + GET)
    assert (reader.next(), reader.complete, len(reader)) == (b"c", True, len(GET))
    assert reader.next() is None


@given(st.binary(max_size=400), st.integers(1, 40))
def test_any_input_is_refused_or_incomplete(data: bytes, step: int) -> None:
    try:
        read(POST + data, step)
    except MalformedRequest as refusal:
        status = refusal.status
    else:
        status = 400
    assert status in (400, 413, 431, 501)


@given(
    st.lists(st.sampled_from([*GOOD.values(), *(data for data, _ in BAD.values())]), max_size=4),
    st.integers(1, 100),
)
def test_the_http_library_sees_the_same_requests(parts: list[bytes], step: int) -> None:
    """What is let through, h11 reads as exactly one request with nothing left over."""
    try:
        found = read(b"".join(parts) or b"x", max(step, len(b"".join(parts)) // 50))
    except MalformedRequest:
        return
    for request in found:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        connection.receive_data(request)
        events = []
        while not isinstance(event := connection.next_event(), type(h11.NEED_DATA)):
            events.append(event)
            if isinstance(event, h11.EndOfMessage):
                break
        assert isinstance(events[0], h11.Request)
        assert isinstance(events[-1], h11.EndOfMessage)
        assert connection.trailing_data == (b"", False)
