"""What went wrong on the way to the control plane, in a sentence.

It says what happened, after how long, through which proxy, and whether the request may have
arrived: what was sent may have been acted on, although its answer was lost.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from nomos._core.effects import Send
from nomos._io.deadline import Deadline
from nomos.errors import Unreachable

if TYPE_CHECKING:
    from nomos._io.http import Endpoint

MAX_REASON: Final = 300
MAX_CAUSES: Final = 20

LOST: Final = "the connection ended before the answer was complete"


def failures() -> tuple[type[Exception], ...]:
    """Return the errors that a request may end in; httpx is imported by then."""
    import httpcore
    import httpx

    return (
        httpx.HTTPError,
        httpx.InvalidURL,
        httpx.StreamError,
        httpcore.ConnectionNotAvailable,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.TimeoutException,
        httpcore.UnsupportedProtocol,
        OSError,  # of sockets, TLS and name lookups; TimeoutError is one
        UnicodeError,  # a name that cannot be looked up
    )


def unreachable(
    endpoint: Endpoint, error: Exception, send: Send, deadline: Deadline
) -> Unreachable:
    """Return the error for a request that got no answer."""
    late, sent = _late(error), _sent(error)
    through = "" if endpoint.proxy is None else f" through {endpoint.proxy}"
    tries = "" if deadline.tries < 2 else f" (tried {deadline.tries} times)"
    if late:
        what = f"did not answer within {_seconds(deadline.spent())} s{tries}"
    elif sent:
        what = f"gave no answer: {_reason(error)}{tries}"
    else:
        what = f"cannot be reached: {_reason(error)}{tries}"
    doubt = ""
    if sent and send.method != "GET":
        doubt = " The request was sent, so it may have been acted on."
    message = endpoint.trouble() or (
        f"the control plane at {endpoint.url}{through} {what}. "
        f"Is it running, and is control_plane_url right?{doubt}"
    )
    return Unreachable(message, sent=sent)


def _seconds(spent: float) -> str:
    return f"{round(spent, 1):g}"


def _late(error: Exception) -> bool:
    import httpcore

    return isinstance(error, TimeoutError | httpcore.TimeoutException)


def _sent(error: Exception) -> bool:
    """Whether the request may have arrived; false only where no connection was there."""
    import httpcore
    import httpx

    before = (
        httpcore.ConnectError,
        httpcore.ConnectTimeout,
        httpcore.PoolTimeout,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
        httpx.InvalidURL,
    )
    return not isinstance(error, before)


def _reason(error: Exception) -> str:
    """Return the reason that the machine gave, or what the kind of error means."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({cause.verify_message}); SSL_CERT_FILE names "
                "a file of authorities to trust"
            )
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({cause.reason or cause})"[:MAX_REASON]
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[:MAX_REASON]
    words = " ".join(str(error).split())[:MAX_REASON].rstrip(".")
    return words or (LOST if _sent(error) else type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, groups included; the first of each comes first."""
    left, seen = [error], 0
    while left and seen < MAX_CAUSES:
        cause = left.pop(0)
        seen += 1
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            left.extend(cause.exceptions)
        left.extend(each for each in (cause.__cause__, cause.__context__) if each is not None)
