"""Webhooks: sign and verify the messages of the control plane.

Each message has the header

    Nomos-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256(secret, "<t>.<body>")>

with a signature over the exact bytes of the body. `t` is the time of this delivery, so that an old
message cannot be replayed. While a secret is being replaced there may be several `v1`. Messages are
delivered at least once: a receiver that acts on one should remember its `id`.

    event = nomos.webhooks.verify(request.headers, request.body, secret)

This module performs no I/O and needs only the standard library.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, NoReturn, Protocol

from nomos._sealed import SealedRecord, make
from nomos._tracebacks import without_frames
from nomos.errors import ConfigurationError, InvalidWebhookSignature, WebhookReason
from nomos.models import Secret

HEADER: Final = "Nomos-Signature"
TOLERANCE: Final = 300
"""Default tolerance between the sender's clock and this machine's, in seconds, both ways."""

SHORTEST_SECRET: Final = 32
LONGEST_SECRET: Final = 4096
MAX_BODY: Final = 1024 * 1024
MAX_HEADER: Final = 1024
MAX_SIGNATURES: Final = 8

_PART: Final = re.compile(r"(t)=([0-9]{1,12})|(v1)=([0-9a-f]{64})|([a-z0-9_]{1,16})=([^,]*)")
_UNREADABLE: Final = "call `verify(headers, body, …)` with the unparsed bytes of the body"


Text = str | bytes


class HeaderItems(Protocol):
    """Header names and values, as the request objects of most HTTP libraries provide them."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return the pairs of name and value."""
        ...


Headers = HeaderItems | Mapping[str, str] | Iterable[tuple[Text, Text]]
"""A request's headers: a mapping, or pairs of name and value, as text or as ASGI's bytes."""


class Event(SealedRecord):
    """One message of the control plane: `event` happened to `approval`.

    `id` is the same when a message is delivered again. `event` is `approval.requested` or
    `approval.decided`; ignore values that you do not know. `approval` is the approval as `GET
    /v1/approvals/{id}` returns it: `id`, `state`, `command`, `resource`, `args`, …. `created_at` is
    in UTC; `tenant` is the control plane's.
    """

    _source: ClassVar = "nomos.webhooks.verify"
    _stored: ClassVar = "store its `id`, and the message's headers and body"
    _unshown: ClassVar = frozenset(("approval",))

    id: str
    event: str
    created_at: datetime
    tenant: str
    approval: Mapping[str, Any]


@without_frames
def verify(
    headers: Headers,
    body: bytes,
    secret: str | bytes | Secret,
    tolerance: float = TOLERANCE,
    *,
    now: float | None = None,
) -> Event:
    """Return a message, if the holder of `secret` signed it within `tolerance` seconds of now.

    `headers` is a mapping or a list of pairs, with names in any case and as text or bytes. `body`
    is the request's body before any parsing, at most 1 MiB. `secret` has 32 to 4096 characters.
    `now` is Unix time, by default this machine's.

    Raises `InvalidWebhookSignature`, whose `reason` is the cause, and `ConfigurationError` for an
    argument of the wrong type or out of bounds.
    """
    key = checked_secret(secret, setting="secret")
    if not math.isfinite(tolerance) or tolerance < 0:
        raise ConfigurationError("tolerance must be 0 seconds or more", setting="tolerance")
    if not isinstance(body, bytes):
        message = f"body must be bytes, not {type(body).__name__}: {_UNREADABLE}"
        raise ConfigurationError(message, setting="body")
    if len(body) > MAX_BODY:
        _invalid("malformed", f"the body is longer than {MAX_BODY} bytes")
    sent_at, signatures = _parts(_signature_header(headers))
    _check_signature(key, sent_at, body, signatures)
    # The time is checked last: its messages are for senders that hold the secret.
    _check_time(int(sent_at), time.time() if now is None else now, tolerance)
    return _event(body)


def sign(secret: Secret, body: bytes, at: int) -> str:
    """Return the value of the signature header for `body`, sent at `at` (Unix seconds).

    `secret` has 32 to 4096 characters; raises `ConfigurationError` for another length.
    """
    return f"t={at},v1={_mac(checked_secret(secret, setting='secret'), str(at), body)}"


@without_frames
def checked_secret(secret: str | bytes | Secret, *, setting: str) -> bytes:
    """Return the bytes of `secret`. Raises `ConfigurationError` for a wrong length.

    `setting` is the name of the argument or variable, for the error.
    """
    text = secret.reveal() if isinstance(secret, Secret) else secret
    key = text.encode() if isinstance(text, str) else text
    if not isinstance(key, bytes) or not SHORTEST_SECRET <= len(key) <= LONGEST_SECRET:
        raise ConfigurationError(
            f"a webhook secret must have {SHORTEST_SECRET} to {LONGEST_SECRET} characters: make "
            "one with `openssl rand -hex 32`, and configure it at the control plane and at the "
            "receiver",
            setting=setting,
        )
    return key


def _signature_header(headers: Headers) -> str:
    found = _values(headers)
    if not found:
        _invalid("missing", f"there is no {HEADER} header: the control plane did not send this")
    if len(found) > 1:
        _invalid("malformed", f"there is more than one {HEADER} header")
    if len(found[0]) > MAX_HEADER:
        _invalid("malformed", f"the {HEADER} header is longer than {MAX_HEADER} characters")
    return found[0]


def _values(headers: Any) -> list[str]:
    """Return the values of the signature's headers; a list as a value counts as several headers."""
    pairs = headers.items() if callable(getattr(headers, "items", None)) else headers
    try:
        return [
            _plain(value)
            for name, values in pairs
            if _plain(name).lower() == HEADER.lower()
            for value in (values if isinstance(values, list | tuple) else (values,))
        ]
    except (TypeError, ValueError):
        raise ConfigurationError(
            "headers must be a mapping of names to values, or a list of (name, value) pairs, as "
            'text or bytes: `request.headers`, or ASGI\'s `scope["headers"]`',
            setting="headers",
        ) from None


def _plain(text: object) -> str:
    """Return a header's name or value as text; bytes are Latin-1 (RFC 9110, section 5.5)."""
    if isinstance(text, bytes):
        return text.decode("latin-1")
    return _text(text)


def _parts(header: str) -> tuple[str, Sequence[str]]:
    """Return the time and the signatures; parts with unknown names are ignored."""
    times: list[str] = []
    signatures: list[str] = []
    for part in header.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None or match[5] in ("t", "v1"):
            _invalid("malformed", f"the {HEADER} header is not `t=<unix>,v1=<hex>`")
        times += [match[2]] if match[1] else []
        signatures += [match[4]] if match[3] else []
    if len(times) != 1 or not 0 < len(signatures) <= MAX_SIGNATURES:
        _invalid(
            "malformed",
            f"the {HEADER} header must hold one t= and 1 to {MAX_SIGNATURES} v1=, and holds "
            f"{len(times)} and {len(signatures)}",
        )
    return times[0], signatures


def _check_signature(key: bytes, sent_at: str, body: bytes, signatures: Sequence[str]) -> None:
    expected, good = _mac(key, sent_at, body), False
    for signature in signatures:
        good |= hmac.compare_digest(signature, expected)
    if not good:
        _invalid(
            "forged",
            "no signature matches: the body was changed (was it parsed and serialized again "
            "before this check?), or it was signed with another secret",
        )


def _mac(key: bytes, at: str, body: bytes) -> str:
    return hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()


def _check_time(sent_at: int, now: float, tolerance: float) -> None:
    age = now - sent_at
    if age > tolerance:
        _invalid(
            "too_old",
            f"it was sent {age:.0f} s ago and at most {tolerance:g} s are allowed: it was delayed "
            f"or replayed, or the clocks disagree by {age:.0f} s",
        )
    if -age > tolerance:
        _invalid(
            "from_the_future",
            f"it was sent {-age:.0f} s from now by the sender's clock and at most {tolerance:g} s "
            f"are allowed: the clocks disagree by {-age:.0f} s; this machine's says {now:.0f}",
        )


def _event(body: bytes) -> Event:
    try:
        content = json.loads(body.decode())
        created_at = datetime.fromisoformat(content["createdAt"])
        event = make(
            Event,
            id=_text(content["id"]),
            event=_text(content["event"]),
            created_at=created_at,
            tenant=_text(content["tenant"]),
            approval=_object(content["approval"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        _invalid("malformed", "the body is signed but is not a message that this version knows")
    return event


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _invalid(reason: WebhookReason, message: str) -> NoReturn:
    raise InvalidWebhookSignature(f"webhook message refused: {message}", reason=reason) from None
