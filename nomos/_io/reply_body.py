"""Reading of HTTP replies within size limits, and ids for requests."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, cast

from nomos._core.effects import HttpReply
from nomos.errors import InvalidResponse

if TYPE_CHECKING:
    import httpx

MAX_REPLY: Final = 4 * 1024 * 1024


def new_call_id() -> str:
    """Return the id that a reply must repeat; new for each attempt."""
    return secrets.token_urlsafe(18)


def pieces(response: httpx.Response) -> Iterator[bytes]:
    """Yield the body as it arrives. Unlike `iter_raw`, its end does not free the connection."""
    yield from cast("httpx.SyncByteStream", response.stream)


def receive(response: httpx.Response) -> HttpReply:
    """Read a reply completely. Raises `InvalidResponse` if it is compressed or too long."""
    body = bytearray()
    _check_head(response.headers)
    for piece in pieces(response):
        body += piece
        _bound(body)
    return read(response, body)


async def areceive(response: httpx.Response) -> HttpReply:
    """The same as `receive`, for tasks."""
    body = bytearray()
    _check_head(response.headers)
    async for piece in cast("httpx.AsyncByteStream", response.stream):
        body += piece
        _bound(body)
    return read(response, body)


def check_plain(headers: Mapping[str, str]) -> None:
    """Reject a compressed reply: a few bytes could expand to any size."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise InvalidResponse(
            "the control plane sent a compressed reply, although compression was not accepted"
        )


def _check_head(headers: Mapping[str, str]) -> None:
    check_plain(headers)
    announced = headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > MAX_REPLY):
        raise _too_long()


def _bound(body: bytearray) -> None:
    if len(body) > MAX_REPLY:
        raise _too_long()


def _too_long() -> InvalidResponse:
    return InvalidResponse(f"the control plane's reply is longer than {MAX_REPLY} bytes")


def read(response: httpx.Response, body: bytes | bytearray = b"") -> HttpReply:
    """Return the reply with this body, with lower-case header names."""
    lowered = {name.lower(): value for name, value in response.headers.items()}
    return HttpReply(response.status_code, lowered, bytes(body), time.time())
