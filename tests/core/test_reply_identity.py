"""The id that binds a reply to its request."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from nomos._core import reply_identity
from nomos._core.effects import HttpReply

CALL = "call-1-of-32-letters-or-more-here"


def pieces(*texts: bytes) -> Iterator[bytes]:
    yield from texts


def named(call: str = CALL) -> bytes:
    return json.dumps({reply_identity.MEMBER: call}, separators=(",", ":")).encode()


def test_the_first_line_may_come_in_pieces() -> None:
    first = reply_identity.first_line(CALL)
    got = reply_identity.check_lines(
        pieces(first[:5], first[5:9], first[9:] + b"a\n", b"b\n"), CALL
    )
    assert b"".join(got) == b"a\nb\n"


@pytest.mark.parametrize("parts", [(), (b"",), (b"x" * 5, b"y"), (b"z" * 4096, b"\n")])
def test_a_stream_that_ends_or_goes_on_without_it_is_anothers(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(reply_identity.ReplyMismatch):
        list(reply_identity.check_lines(pieces(*parts), CALL))


def test_a_reply_is_its_requests_own() -> None:
    reply_identity.check(HttpReply(200, {}, named(), 0.0), CALL)
    reply_identity.check(
        HttpReply(502, {}, b'{"message": "bad gateway"}', 0.0), CALL
    )  # a proxy's own
    for status, body in ((200, b"{}"), (200, named("another")), (500, b'{"error_code": "x"}')):
        with pytest.raises(reply_identity.ReplyMismatch):
            reply_identity.check(HttpReply(status, {}, body, 0.0), CALL)
