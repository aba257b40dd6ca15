"""The token or API key of a request: one `Authorization: Bearer` header (RFC 6750)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import parse_qsl

from nomos._core.remedies import API_KEY
from nomos._identifiers import JWT
from nomos._limits import MAX_TOKEN

Code = Literal["invalid_request", "malformed_ucan"]
Fault = Literal["in_query", "missing", "malformed"]

IN_QUERY: Final = (
    "a token in a URL appears in logs and is not accepted: send it as `authorization: Bearer`, "
    "and get another one, because this one may have been read"
)
QUERY_CHALLENGE: Final = (
    'Bearer error="invalid_request", error_description="the token is in the URL"'
)
_CHALLENGES: Final = {"in_query": QUERY_CHALLENGE, "missing": "Bearer"}
_ONE_HEADER: Final = "send one authorization header, `Bearer <grant.ucan>`"


class BearerFault(Exception):
    """The request does not have exactly one bearer token in its header.

    `code`, `message` and `headers` are those of the error for the caller. `headers` is empty if its
    challenge is the one for any rejected token.
    """

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(fault)
        self.fault = fault
        self.message = message
        self.code: Code = "invalid_request" if fault == "in_query" else "malformed_ucan"
        challenge = _CHALLENGES.get(fault)
        self.headers = {} if challenge is None else {"www-authenticate": challenge}


def read(authorization: Sequence[str], query: bytes, *, missing: str = "") -> str:
    """Return the text of the only `Authorization` header. Raises `BearerFault` for anything else.

    A token in the URL is rejected even if there is a header, because it is in logs. `missing` is
    the message for a request without a header.
    """
    if is_in_query(query):
        raise BearerFault("in_query", IN_QUERY)
    if not authorization:
        raise BearerFault("missing", missing)
    scheme, _, text = authorization[0].strip(" ").partition(" ")
    if len(authorization) > 1 or scheme.lower() != "bearer":
        raise BearerFault("malformed", _ONE_HEADER)
    return text.strip(" ")


def read_token(
    authorization: Sequence[str], query: bytes, *, missing: str, most: int = MAX_TOKEN
) -> str:
    """Return what `read` returns if it may be a token. Raises `BearerFault` for anything else."""
    token = read(authorization, query, missing=missing)
    wrong = token_fault(token, most)
    if wrong is not None:
        raise BearerFault("malformed", wrong)
    return token


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
