"""Detection of bytes that follow a reply on its connection.

A server or proxy that sends more than one reply to a request leaves the next one in the
connection's buffer, and the next request would read it as its own reply. httpx and httpcore do not
expose that buffer (h11's `trailing_data`); this is the only module that reads it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import httpx

State = Literal["clean", "left over", "unknown"]

_INWARD: Final = ("_h11_state", "_connection", "_httpcore_stream", "_stream")
"""Attributes from a response's stream to the state of its connection, innermost first."""

_LONGEST_WAY: Final = 8


def state_after(response: httpx.Response) -> State:
    """Return whether bytes follow a reply that was read completely; if so, end its connection.

    To be called before the response is closed: then another request may use the connection.
    `unknown` means that the buffer cannot be read, so the caller must discard the connection.
    """
    connection = _h11(response)
    if connection is None:
        return "unknown"
    if not connection.trailing_data[0]:
        return "clean"
    connection.send_failed()  # a connection in this state is closed with its response
    return "left over"


def _h11(response: httpx.Response) -> Any:
    found: Any = response.stream
    for _ in range(_LONGEST_WAY):
        if hasattr(found, "trailing_data") and hasattr(found, "send_failed"):
            return found
        name = next(filter(partial(hasattr, found), _INWARD), None)
        if name is None:
            return None
        found = getattr(found, name)
    return None
