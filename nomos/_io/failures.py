"""Errors of HTTP requests, turned into `Unreachable` with a message.

The message says what happened, after how long, through which proxy, and whether the request may
have arrived: it may then have taken effect, although no reply came.
"""

from __future__ import annotations

import os
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

_OWN_WORDS: Final = ("Server disconnected", "peer closed connection")

_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")

LOST: Final = "the connection ended before the reply was complete"


def failures() -> tuple[type[Exception], ...]:
    """Return the exceptions that a request may raise; httpx has been imported by then."""
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
    """Return the error for a request without a reply."""
    late, sent = _late(error), _sent(error)
    through = "" if endpoint.proxy is None else f" through {endpoint.proxy}"
    tries = "" if deadline.tries < 2 else f" (tried {deadline.tries} times)"
    if late:
        what = f"did not answer within {_seconds(deadline.spent())} s{tries}"
    elif sent:
        what = f"gave no reply: {reason(error)}{tries}"
    else:
        what = f"cannot be reached: {reason(error)}{tries}"
    doubt = ""
    if sent and send.method != "GET":
        doubt = " The request was sent, so it may have taken effect."
    message = endpoint.failure_reason() or (
        f"the control plane at {endpoint.url}{through} {what}. "
        f"Check that it is running and that control_plane_url is right.{doubt}"
    )
    return Unreachable(message, sent=sent)


def _seconds(spent: float) -> str:
    return f"{round(spent, 1):g}"


def _late(error: Exception) -> bool:
    import httpcore

    return isinstance(error, TimeoutError | httpcore.TimeoutException)


def _sent(error: Exception) -> bool:
    """Whether the request may have arrived; false only if no connection was made."""
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


def reason(error: Exception, *, ca_setting: str = "SSL_CERT_FILE") -> str:
    """Return an error's reason; that of an untrusted certificate names the setting `ca_setting`."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({cause.verify_message}); set {ca_setting} to "
                "a file of certificate authorities to trust"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
            return f"TLS failed ({cause.reason}): the server may speak plain http"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({cause.reason or cause})"[:MAX_REASON]
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            return os.strerror(cause.errno)  # asyncio words these errors differently
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[:MAX_REASON]
    return _words(error)


def _words(error: Exception) -> str:
    """Return an HTTP library's error, without text of the peer: it may contain the API key."""
    import httpcore
    import httpx

    text = " ".join(str(error).split())[:MAX_REASON].rstrip(".")
    if isinstance(error, httpcore.ProxyError | httpx.ProxyError):
        status = text.partition(" ")[0]
        return f"the proxy returned status {status}" if status.isdigit() else "the proxy refused"
    if isinstance(error, httpcore.ProtocolError | httpx.ProtocolError):
        own = text.startswith(_OWN_WORDS)
        return text if own else "its reply is not HTTP"
    return text or (LOST if _sent(error) else type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, those of groups included; nearer causes come first."""
    left, seen = [error], 0
    while left and seen < MAX_CAUSES:
        cause = left.pop(0)
        seen += 1
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            left.extend(cause.exceptions)
        left.extend(each for each in (cause.__cause__, cause.__context__) if each is not None)
