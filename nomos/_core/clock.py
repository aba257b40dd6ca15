"""The difference between this machine's clock and the control plane's, and messages about it.

Tokens begin and end by the control plane's clock. The offset only changes how this process reads
the time: a verifier uses its own clock.
"""

from __future__ import annotations

from typing import Final

from nomos._core import replies
from nomos._core.effects import Flow, Send, perform
from nomos._times import iso_seconds
from nomos.errors import ControlPlaneError
from nomos.models import Moment, ResponseModel

NOTICEABLE: Final = 2.0  # differences below this many seconds are not reported


DIGITS: Final = 11  # the most digits of a Unix time that is formatted as a date


_OUT: Final = {
    "expired": "has expired: it ended at",
    "not_yet_valid": "is not valid yet: it begins at",
}


class _Time(ResponseModel):
    server_time: Moment


def learn() -> Flow[float | None]:
    """Ask the control plane for its time; return the seconds it is ahead, None if unknown."""
    send = Send("GET", "/.well-known/nomos", {"accept": "application/json"}, public=True)
    try:
        reply = yield from perform(send)
        said = replies.parse(reply, _Time, what="a control plane's document")
    except ControlPlaneError:
        return None
    return said.server_time.timestamp() - reply.at


def difference(offset: float | None) -> str:
    """Return a sentence about the clock, for a token that is expired or not yet valid."""
    if offset is None:
        return "Check this machine's clock: the control plane's time could not be read"
    if abs(offset) < NOTICEABLE:
        return "This machine's clock and the control plane's agree"
    way = "behind" if offset > 0 else "ahead of"
    return (
        f"This machine's clock is {abs(offset):.0f} s {way} the control plane's, which was taken "
        "into account"
    )


def out_of_time(code: str, moment: str | None, now: int, server: float | None) -> str | None:
    """Return a sentence about a token that is expired, or not yet valid, by a verifier's clock.

    `moment` is the JSON text of the time in question; `server` is the control plane's time now, if
    known. None for any other code, and for a `moment` that is not a time.
    """
    if code not in _OUT or moment is None or not moment.isdecimal() or len(moment) > DIGITS:
        return None
    at, here = iso_seconds(int(moment)), iso_seconds(now)
    sentence = f"the token {_OUT[code]} {at}, and it is {here} by this clock"
    if server is None:
        return sentence
    ahead = now - server
    if abs(ahead) < NOTICEABLE:
        return f"{sentence}, which agrees with the control plane's"
    way = "ahead of" if ahead > 0 else "behind"
    return f"{sentence}, which is {abs(ahead):.0f} s {way} the control plane's"
