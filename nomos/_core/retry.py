"""When a request is worth sending again, and how long to wait first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nomos._core.effects import Flow, HttpReply, Pause, Send, perform
from nomos.errors import Unreachable

BASE_DELAYS: Final = (0.1, 0.4)
"""Seconds before the second and the third try, before jitter."""

WORTH_REPEATING: Final = frozenset({429, 502, 503, 504})

MAX_RETRY_AFTER: Final = 30.0
"""Seconds. A server that asks for a longer wait is believed, and not waited for."""


def delays(jitter: Sequence[float]) -> tuple[float, ...]:
    """Return the pauses between tries; `jitter` holds one number in [0, 1) for each."""
    return tuple(base * (1 + share) for base, share in zip(BASE_DELAYS, jitter, strict=True))


def retry_after(reply: HttpReply) -> float | None:
    """Return the `Retry-After` of a reply in seconds, if it is a number (RFC 9110, 10.2.3)."""
    text = reply.headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def send(request: Send, pauses: Sequence[float]) -> Flow[HttpReply]:
    """Send, pausing after each failure worth repeating; the last try speaks for itself."""
    for pause in pauses:
        wait = pause
        try:
            reply = yield from perform(request)
        except Unreachable:
            pass
        else:
            asked = retry_after(reply)
            if reply.status not in WORTH_REPEATING or (asked or 0) > MAX_RETRY_AFTER:
                return reply
            wait = max(pause, asked or 0)
        yield from perform(Pause(wait))
    return (yield from perform(request))
