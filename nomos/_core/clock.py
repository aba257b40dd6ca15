"""By how much this machine's clock differs from the control plane's.

Tokens begin and end by the control plane's clock. An offset only moves a process's own reading of
the time: whoever verifies a token goes by their own.
"""

from __future__ import annotations

from typing import Final

from nomos._core import replies
from nomos._core.effects import Flow, Send, perform
from nomos.errors import ControlPlaneError
from nomos.models import Moment, Told

NOTICEABLE: Final = 2.0
"""Seconds of difference below which there is nothing to say."""


class _Time(Told):
    server_time: Moment


def learn() -> Flow[float | None]:
    """Ask the control plane for its time; return the seconds that it is ahead, None if unknown."""
    send = Send("GET", "/.well-known/nomos", {"accept": "application/json"}, public=True)
    try:
        reply = yield from perform(send)
        said = replies.told(reply, _Time, what="a control plane's document")
    except ControlPlaneError:
        return None
    return said.server_time.timestamp() - reply.at


def difference(offset: float | None) -> str:
    """Return a sentence about the clock, for a token that seems to be out of its time."""
    if offset is None:
        return "Is this machine's clock right? The control plane could not be asked for its time"
    if abs(offset) < NOTICEABLE:
        return "This machine's clock and the control plane's agree"
    way = "behind" if offset > 0 else "ahead of"
    return (
        f"This machine's clock is {abs(offset):.0f} s {way} the control plane's, which was taken "
        "into account"
    )
