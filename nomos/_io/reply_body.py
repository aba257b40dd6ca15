"""Reading of HTTP replies within size limits, and ids for requests."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
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


async def apieces(response: httpx.Response) -> AsyncIterator[bytes]:
    """The same as `pieces`, for tasks."""
    async for piece in cast("httpx.AsyncByteStream", response.stream):
        yield piece


def check_plain(headers: Mapping[str, str]) -> None:
    """Reject a compressed reply: a few bytes could expand to any size."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise InvalidResponse(
            "the control plane sent a compressed reply, although compression was not accepted"
        )


def bound_announced(headers: Mapping[str, str]) -> None:
    """Reject a reply by its announced length, before it is read."""
    announced = headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > MAX_REPLY):
        raise _too_long()


def bound(body: bytearray) -> None:
    """Reject a body that is too long."""
    if len(body) > MAX_REPLY:
        raise _too_long()


def _too_long() -> InvalidResponse:
    return InvalidResponse(f"the control plane's reply is longer than {MAX_REPLY} bytes")


def read(status: int, headers: Mapping[str, str], body: bytearray) -> HttpReply:
    """Return the reply, with lower-case header names."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return HttpReply(status, lowered, bytes(body), time.time())
