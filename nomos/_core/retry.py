"""Retries of requests: which failures are repeated, and after which pause."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from nomos._core.effects import Flow, HttpReply, OutOfTime, Pause, Send, perform
from nomos.errors import Unreachable

BASE_DELAYS: Final = (0.1, 0.4)  # seconds before the second and the third try, before jitter
WORTH_REPEATING: Final = frozenset({429, 502, 503, 504})
"""Statuses after which a request is repeated."""

MAX_RETRY_AFTER: Final = 30.0
"""Seconds. If a server asks for a longer pause, the request is not repeated."""

MAX_DATE: Final = 64  # characters of an HTTP date


def delays(jitter: Sequence[float]) -> tuple[float, ...]:
    """Return the pauses between tries; `jitter` holds one number in [0, 1) for each."""
    return tuple(base * (1 + share) for base, share in zip(BASE_DELAYS, jitter, strict=True))


def retry_after(reply: HttpReply) -> float | None:
    """Return the `Retry-After` of a reply in seconds, None without a valid one (RFC 9110, 10.2.3).

    A date is compared with the server's own `Date`, or without one with this machine's clock.
    """
    text = reply.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    then = _unix(text)
    if then is None:
        return None
    now = _unix(reply.headers.get("date", ""))
    return max(0.0, then - (reply.at if now is None else now))


def _unix(date: str) -> float | None:
    """Read an HTTP date as Unix seconds; None for anything else."""
    if not 0 < len(date) <= MAX_DATE or not date.isascii():
        return None
    try:
        moment = parsedate_to_datetime(date)
        # Only obsolete forms have no zone; they are in UTC (RFC 9110, 5.6.7).
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def send(request: Send, pauses: Sequence[float]) -> Flow[HttpReply]:
    """Send, with a pause after temporary failures while time is left; return the last result."""
    tried: HttpReply | Unreachable
    for pause in pauses:
        wait = pause
        try:
            reply = yield from perform(request)
        except Unreachable as failure:
            tried = failure
        else:
            asked = retry_after(reply) or 0.0
            if reply.status not in WORTH_REPEATING or asked > MAX_RETRY_AFTER:
                return reply
            tried, wait = reply, max(pause, asked)
        try:
            yield from perform(Pause(wait))
        except OutOfTime:
            break
    else:
        return (yield from perform(request))
    if isinstance(tried, Unreachable):
        raise tried
    return tried
