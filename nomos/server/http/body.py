"""Reading a request's body, bounded in size and in time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

import anyio

Fault = Literal["too_large", "late"]


class BodyFault(Exception):
    """A body that was not read to its end."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


async def read_bounded(
    chunks: AsyncIterator[bytes], most: int, seconds: float, *, declared: str = ""
) -> bytes:
    """Return a body; BodyFault if it is too slow or large, at once by its `declared` length."""
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
        raise BodyFault("too_large")
    content = bytearray()
    try:
        with anyio.fail_after(seconds):
            async for chunk in chunks:
                content += chunk
                if len(content) > most:
                    raise BodyFault("too_large")
    except TimeoutError:
        raise BodyFault("late") from None
    return bytes(content)
