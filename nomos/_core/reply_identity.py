"""The id that binds a reply to its request.

Every request has an id of its own in a header, and every JSON reply of a control plane repeats it
in its body. Otherwise a proxy that mixes up replies, sends one twice or serves one from a cache
could answer one question with the decision about another. The id is in the body because proxies set
and replace headers such as `x-request-id`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from nomos._core.effects import HttpReply
from nomos.errors import InvalidResponse

HEADER: Final = "nomos-call-id"
MEMBER: Final = "callId"

FORM: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
"""The ids that a server repeats; others are left out of its replies."""

MAX_FIRST_LINE: Final = 256


class ReplyMismatch(InvalidResponse):
    """The reply does not name its request."""


def check(reply: HttpReply, call_id: str) -> None:
    """Raise `ReplyMismatch` unless the reply names `call_id`.

    Replies that are not a JSON object, and errors that a proxy made, are left to the caller:
    neither is read as an allow.
    """
    body = _body(reply)
    if body is None or body.get(MEMBER) == call_id:
        return
    if reply.status != 200 and MEMBER not in body and "error_code" not in body:
        return
    raise _mismatch(named=MEMBER in body, status=reply.status)


def check_lines(pieces: Iterable[bytes], call_id: str) -> Iterator[bytes]:
    """Yield a streamed reply without its first line, which must name `call_id`."""
    rest = iter(pieces)
    start = b""
    for piece in rest:
        start += piece
        if b"\n" in start or len(start) > MAX_FIRST_LINE:
            break
    first, _, more = start.partition(b"\n")
    if first != first_line(call_id).rstrip(b"\n"):
        raise _mismatch(named=MEMBER.encode() in first[:MAX_FIRST_LINE], status=200)
    yield more
    yield from rest


def first_line(call_id: str) -> bytes:
    """Return the first line of a streamed reply to a request with this `call_id`."""
    return json.dumps({MEMBER: call_id}).encode() + b"\n"


def call_id(sent: Sequence[str]) -> str | None:
    """Return the id to repeat in the body; None unless the header is there once and well-formed."""
    return sent[0] if len(sent) == 1 and FORM.fullmatch(sent[0]) else None


def echoed(call_id: str | None) -> dict[str, str]:
    """Return the member that names a reply's request; none for a client that sent no id."""
    return {} if call_id is None else {MEMBER: call_id}


def _body(reply: HttpReply) -> dict[str, Any] | None:
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _mismatch(*, named: bool, status: int) -> ReplyMismatch:
    what = "is for another request" if named else "does not say which request it is for"
    return ReplyMismatch(
        f"the control plane's reply {what} ({MEMBER}), so it was not used: a proxy in between may "
        "mix replies up, or control_plane_url is not a control plane of this version",
        status=status,
    )
