"""Reading a request's JSON: bounded, and with one meaning only.

What two parsers could read differently is refused: duplicate keys, numbers that a double cannot
hold, NaN, lone surrogates, keys that are not in Unicode's composed form. Everything later may
then be signed as it is.
"""

from __future__ import annotations

import asyncio
import json
import math
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn

from starlette.requests import Request

from nomos.errors import InvalidRequest
from nomos.server.control.errors import ControlError, shown

MAX_BODY: Final = 64 * 1024
MAX_WITH_CHAIN: Final = 512 * 1024
"""Bytes of a body that may hold a chain of delegations."""

MAX_DEPTH: Final = 16
"""Levels of nesting; in a token the deepest of them sits a few levels deeper, below 32."""

MAX_INTEGER: Final = 2**53 - 1

FIRST_WITH_EXPONENT: Final = 1e21
"""From here on numbers are written with an exponent, and promise no exact integer."""
SECONDS_TO_SEND: Final = 20.0

Still = Callable[[], Awaitable[object]]
"""Raises ControlError if a known caller may not act any more: `request.state.still`."""


async def read(request: Request, most: int = MAX_BODY) -> dict[str, Any]:
    """Read the body, of `most` bytes, as one JSON object.

    Raises ControlError when it is too large or slow, InvalidRequest when it is not what it should
    be.
    """
    return parse(await raw(request, most))


async def raw(request: Request, most: int = MAX_BODY) -> bytes:
    """Read the body as it is; asked again it is the same. Raises as `read` does.

    The caller was known before the body came, and is looked up once more when it is here.
    """
    known: bytes | None = getattr(request.state, "body", None)
    if known is None:
        known = request.state.body = await _bounded(request, most)
        still: Still | None = getattr(request.state, "still", None)
        if still is not None:
            await still()  # a body may take longer than its sender's key was good for
    return known


async def _bounded(request: Request, most: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > most:
        raise _too_large(most)
    content = bytearray()
    try:
        async with asyncio.timeout(SECONDS_TO_SEND):
            async for chunk in request.stream():
                content += chunk
                if len(content) > most:
                    raise _too_large(most)
    except TimeoutError:
        message = f"the body did not arrive within {SECONDS_TO_SEND:g} seconds"
        raise ControlError("invalid_request", message) from None
    return bytes(content)


def _too_large(most: int) -> ControlError:
    return ControlError(
        "too_large",
        f"the body is larger than {most // 1024} KiB",
        headers={"connection": "close"},
    )


def parse(content: bytes) -> dict[str, Any]:
    """Parse one JSON object."""
    try:
        value = json.loads(
            content.decode(), object_pairs_hook=_without_duplicates, parse_constant=_constant
        )
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8") from None
    except (ValueError, RecursionError) as failure:
        where = f": {failure}" if isinstance(failure, json.JSONDecodeError) else ""
        raise InvalidRequest(f"the body is not JSON{where}") from None
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object")
    _check(value, ())
    return value


def canonical(value: object) -> bytes:
    """One text for equal values, to hash and to measure; close to RFC 8785, but never signed."""
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"the member {shown(twice)} is there more than once")
    return value


def _constant(name: str) -> NoReturn:
    raise InvalidRequest(f"{name} is not JSON")


def _check(value: object, path: Sequence[str]) -> None:
    if len(path) > MAX_DEPTH:
        raise _wrong(path[:2], f"is nested deeper than {MAX_DEPTH} levels")
    match value:
        case dict():
            for name, item in value.items():
                if not _encodes(name) or not unicodedata.is_normalized("NFC", name):
                    raise _wrong(path, f"has the member name {shown(name)}, which is not in NFC")
                _check(item, (*path, name))
        case list():
            for index, item in enumerate(value):
                _check(item, (*path, str(index)))
        case _:
            problem = _problem(value)
            if problem is not None:
                raise _wrong(path, problem)


def _problem(value: object) -> str | None:
    match value:
        case str() if not _encodes(value):
            return "holds half of a surrogate pair"
        case int() if abs(value) > MAX_INTEGER:
            return "is an integer beyond 2^53-1; send it as a string"
        case float() if not math.isfinite(value):
            return "is a number too large for JSON"
        case float() if value.is_integer() and MAX_INTEGER < abs(value) < FIRST_WITH_EXPONENT:
            return "is an integer beyond 2^53-1; send it as a string"
    return None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong(path: Sequence[str], what: str) -> InvalidRequest:
    field = ".".join(path)
    return InvalidRequest(f"{shown(field)[1:-1] or 'the body'} {what}", fields=(field,))
