"""The guards' HTTP clients refuse compressed replies."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from typing import Final

import anyio
import pytest
from hostile import Reply, control_plane

from nomos._core.effects import HttpReply, Send
from nomos._io.http import AsyncHttp, Endpoint, Http
from nomos.errors import InvalidResponse
from nomos.models import Secret

POST: Final = Send("POST", "/v1/authorize", {"accept-encoding": "gzip, br"}, b"{}")

BOMB: Final = gzip.compress(gzip.compress(bytes(64 * 1024 * 1024), 1))


def sent(url: str) -> HttpReply:
    http = Http(Endpoint(url, api_key=Secret("k"), timeout=10))
    try:
        return http.send(POST)
    finally:
        http.close()


def streamed(url: str) -> HttpReply:
    http = Http(Endpoint(url, api_key=None, timeout=10))
    try:
        with http.stream(POST) as (reply, pieces):
            return HttpReply(reply.status, reply.headers, reply.body + b"".join(pieces), reply.at)
    finally:
        http.close()


def awaited(url: str) -> HttpReply:
    async def go() -> HttpReply:
        http = AsyncHttp(Endpoint(url, api_key=None, timeout=10))
        try:
            return await http.send(POST)
        finally:
            await http.close()

    return anyio.run(go)


WAYS: Final = [sent, streamed, awaited]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip", "GZIP", "deflate", "br", ""])
def test_a_compressed_answer_is_refused_and_not_unpacked(
    way: Callable[[str], HttpReply], status: int, encoding: str
) -> None:
    assert len(BOMB) < 64 * 1024
    reply = Reply(status, BOMB, headers={"content-encoding": encoding})
    with control_plane(reply) as plane:
        tracemalloc.start()
        try:
            with pytest.raises(InvalidResponse, match="sent a compressed reply"):
                way(plane.url)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


@pytest.mark.parametrize("way", [sent, awaited])
@pytest.mark.parametrize("headers", [{}, {"content-encoding": "Identity"}])
def test_uncompressed_replies_are_requested_and_accepted(
    way: Callable[[str], HttpReply], headers: dict[str, str]
) -> None:
    with control_plane(Reply(200, {"a": 1}, headers=headers)) as plane:
        assert json.loads(way(plane.url).body)["a"] == 1
    assert [asked["accept-encoding"] for asked, _ in plane.requests] == ["identity"]


@pytest.mark.parametrize("way", [sent, awaited])
def test_an_answer_is_bounded_while_it_is_read(way: Callable[[str], HttpReply]) -> None:
    with control_plane(Reply(200, bytes(4 * 1024 * 1024))) as plane:
        assert len(way(plane.url).body) == 4 * 1024 * 1024
    with (
        control_plane(Reply(200, bytes(4 * 1024 * 1024 + 1))) as plane,
        pytest.raises(InvalidResponse, match="longer than"),
    ):
        way(plane.url)
