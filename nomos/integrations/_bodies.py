"""`json_body` and `query`: a request's body and query as the arguments of a call.

Frameworks use the last of two values with one name, and drop unknown ones. An ambiguous request is
rejected here, so that the token is compared with the values that the application uses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import anyio
import anyio.to_thread
from starlette.requests import HTTPConnection, Request
from starlette.types import Message, Receive

from nomos._core.http_rules import strict_json
from nomos._core.http_rules.query import QueryFault, parameters, typed
from nomos._core.http_rules.strict_json import JsonFault
from nomos._limits import MAX_BODY_WITH_CHAIN, MAX_NESTING
from nomos._unawaited import must_be_awaited
from nomos.errors import ConfigurationError
from nomos.integrations._refusals import CallRefused, field_of

MAX_BODY: Final = MAX_BODY_WITH_CHAIN
"""Maximum size in bytes of a body that is read before verification. A longer one is rejected."""

PARSE_IN_THREAD: Final = 64 * 1024
"""A body of more bytes is parsed in a thread, so that it does not delay other requests."""

BODY_SECONDS: Final = 10.0
"""Maximum time in seconds for a body to arrive."""


def json_body(
    *, max_bytes: int = MAX_BODY
) -> Callable[[HTTPConnection], Awaitable[dict[str, Any]]]:
    """Return a function for `args=` that reads the members of the request's JSON body.

    The body must be a JSON object of at most `max_bytes` bytes (otherwise 413), with the content
    type `application/json`, and must arrive within 10 seconds. Rejected with 400: another content
    type, a member given twice, NaN and infinities, and a websocket, which has no body.
    """

    @must_be_awaited
    async def args(connection: HTTPConnection) -> dict[str, Any]:
        if not isinstance(connection, Request):
            raise _invalid("a websocket has no body")
        kind = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise _invalid("send a JSON object with content-type: application/json")
        if not hasattr(connection, "_body"):
            # Stored where `Request.body` stores it, for later readers of the body.
            connection._body = await _read(connection, max_bytes)  # noqa: SLF001
        body = await connection.body()
        if len(body) > PARSE_IN_THREAD:
            return await anyio.to_thread.run_sync(_parse_object, body, max_bytes)
        return _parse_object(body, max_bytes)

    return args


def query(**types: type[str | int | bool]) -> Callable[[HTTPConnection], dict[str, Any]]:
    """Return a function for `args=` that reads the URL's query: `query(state=str, page=int)`.

    `types` are the accepted parameters with their types: `str`, `int` or `bool`. A request may
    leave out any of them. Rejected with 400: another parameter, one given twice, and a value of
    another type. An `int` has no sign and no leading zeros; a `bool` is `true` or `false`. Raises
    `ConfigurationError` for another type.
    """
    for name, each in types.items():
        if each not in (str, int, bool):
            raise ConfigurationError(f"{name} must be str, int or bool", setting=name)

    def args(connection: HTTPConnection) -> dict[str, Any]:
        try:
            given = parameters(connection.scope.get("query_string", b""), takes=types)
            return {name: typed(name, text, types[name]) for name, text in given.items()}
        except QueryFault as fault:
            where = "the query" if fault.name is None else "a query parameter"
            raise _invalid(f"{where} {fault.reason}", fault.name) from None

    return args


class ReplayableBody:
    """A body that is read before the application runs, and that the application reads again."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._kept: list[Message] = []

    async def receive(self) -> Message:
        """Receive a message and keep it. Raises CallRefused if the body exceeds its limit."""
        self.check()
        message = await self._receive()
        self._limit -= len(message.get("body", b""))
        self.check()
        self._kept.append(message)
        return message

    def check(self) -> None:
        """Raise CallRefused if the body exceeds its limit, even if an earlier one was caught."""
        if self._limit < 0:
            raise CallRefused("too_large", "the body is too large")

    async def replay(self) -> Message:
        """Return the next stored message, or receive one if none is left."""
        return self._kept.pop(0) if self._kept else await self._receive()


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > limit:
                        raise CallRefused("too_large", f"the body is larger than {limit} bytes")
    except TimeoutError:
        raise _invalid("the body did not arrive in time") from None
    return bytes(body)


def _parse_object(body: bytes, limit: int) -> dict[str, Any]:
    if len(body) > limit:
        raise CallRefused("too_large", f"the body is larger than {limit} bytes")
    try:
        return strict_json.parse(body, nesting=MAX_NESTING)
    except JsonFault as fault:
        # The reason contains no text of the sender.
        raise _invalid(f"the body, or a member of it, {fault.reason}", *fault.fields) from None


def _invalid(message: str, name: str | None = None) -> CallRefused:
    field = field_of("args", name) if name else "args"
    return CallRefused("invalid_request", message, field=field)
