"""Reading a reply: its bounds, and the request that it has to name."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Final, cast

from nomos._core.effects import HttpReply
from nomos.errors import Unintelligible

if TYPE_CHECKING:
    import httpx

MAX_REPLY: Final = 4 * 1024 * 1024


def new_call_id() -> str:
    """What a reply has to repeat; new for each try."""
    return secrets.token_urlsafe(18)


def pieces(response: httpx.Response) -> Iterator[bytes]:
    """The body as it comes. Unlike `iter_raw`, the end does not free the connection."""
    yield from cast("httpx.SyncByteStream", response.stream)


async def apieces(response: httpx.Response) -> AsyncIterator[bytes]:
    async for piece in cast("httpx.AsyncByteStream", response.stream):
        yield piece


def check_plain(headers: Mapping[str, str]) -> None:
    """Refuse a compressed answer: a few bytes of it can be any number once they are unpacked."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Unintelligible(
            "the control plane compressed its answer, which it was asked not to do"
        )


def bound_announced(headers: Mapping[str, str]) -> None:
    """Refuse by the announced length before reading: it is cheaper than giving up half-way."""
    announced = headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > MAX_REPLY):
        raise _too_long()


def bound(body: bytearray) -> None:
    if len(body) > MAX_REPLY:
        raise _too_long()


def _too_long() -> Unintelligible:
    return Unintelligible(f"the control plane's answer is longer than {MAX_REPLY} bytes")


def read(status: int, headers: Mapping[str, str], body: bytearray) -> HttpReply:
    lowered = {name.lower(): value for name, value in headers.items()}
    return HttpReply(status, lowered, bytes(body), time.time())
