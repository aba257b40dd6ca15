"""Idempotent requests that make an API key: a repetition makes the same key."""

from __future__ import annotations

from typing import Self

from starlette.requests import Request

from nomos._core import derived_key
from nomos.errors import InvalidRequest
from nomos.server.domain.accounts import ApiKey
from nomos.server.storage.identifiers import new_ident


class RepeatedRequest:
    """What one operator's idempotency key makes. It is as secret as the API key that it makes."""

    def __init__(self, key: str, operator: ApiKey) -> None:
        self._key = key
        self._operator = operator

    @classmethod
    def of(cls, request: Request, operator: ApiKey) -> Self | None:
        """Return it if the request has an idempotency key; raises `InvalidRequest` if invalid."""
        sent = request.headers.getlist(derived_key.HEADER)
        if not sent:
            return None
        if len(sent) != 1 or not derived_key.is_random(sent[0]):
            raise InvalidRequest(
                "Idempotency-Key: here it is 32 random bytes, base64url without padding, because "
                "the new API key is derived from it",
                fields=("Idempotency-Key",),
            )
        return cls(sent[0], operator)

    def ident(self) -> str:
        """Return the id of the app that is made."""
        who = (self._operator.tenant, self._operator.app)
        number = int.from_bytes(derived_key.derived_bytes(self._key, "app id", *who), "big")
        return new_ident("app", number & ((1 << 48) - 1), lambda bits: number >> (256 - bits))

    def secret(self, app: str) -> str:
        """Return the secret part of the API key of `app`."""
        return derived_key.derived_secret(self._key, operator=self._operator.app, app=app)
