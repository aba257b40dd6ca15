"""The token or API key of a request: one `Authorization: Bearer` header (RFC 6750)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import parse_qsl

from nomos._core.remedies import API_KEY
from nomos._identifiers import JWT
from nomos._limits import MAX_TOKEN

Fault = Literal["in_query", "missing", "malformed"]

IN_QUERY: Final = (
    "a token in a URL appears in logs and is not accepted: send it as `authorization: Bearer`, "
    "and get another one, because this one may have been read"
)
QUERY_CHALLENGE: Final = (
    'Bearer error="invalid_request", error_description="the token is in the URL"'
)


class BearerFault(Exception):
    """The request does not have exactly one bearer token in its header."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def read(authorization: Sequence[str], query: bytes) -> str:
    """Return the token of the only `Authorization` header. Raises `BearerFault` for anything else.

    A token in the URL is rejected even if there is a header, because it is in logs.
    """
    if is_in_query(query):
        raise BearerFault("in_query")
    if not authorization:
        raise BearerFault("missing")
    scheme, _, text = authorization[0].strip(" ").partition(" ")
    if len(authorization) > 1 or scheme.lower() != "bearer":
        raise BearerFault("malformed")
    return text.strip(" ")


def is_in_query(query: bytes) -> bool:
    """Whether the URL contains a token in the form of RFC 6750, section 2.3."""
    if b"access" not in query.lower() and b"%" not in query:
        return False
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return any(name.lower() == "access_token" for name, _ in pairs)


def token_fault(text: str, most: int = MAX_TOKEN) -> str | None:
    """Return why `text` is not a token of at most `most` characters; None if it may be one."""
    if text.startswith(API_KEY):
        return (
            "this is an API key, not a token: send the headers that `grant.headers()` returns, "
            "and send the API key only to the control plane"
        )
    if len(text) > most:
        return f"the token is longer than {most} characters"
    if not JWT.fullmatch(text):
        return "the token is not three base64url parts joined by dots"
    return None
