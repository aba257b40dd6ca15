"""A verifier with scripted results, for tests of the code around it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from starlette.types import ASGIApp

from nomos._sealed import make
from nomos.verify import AsyncVerifier, Verified, Verifier

ISSUER: Final = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
SERVICE: Final = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
TOKEN: Final = {"authorization": "Bearer aaa.bbb.ccc"}
SETTINGS: Final[dict[str, Any]] = {
    "trusted_issuers": [ISSUER],
    "audience": SERVICE,
    "revocations": (),
}


def verified(command: str, resource: Mapping[str, Any], args: Mapping[str, Any] | None) -> Verified:
    given: dict[str, Any] = {
        "agent": ISSUER,
        "root": ISSUER,
        "chain": ("00",),
        "depth": 1,
        "command": command,
        "resource": dict(resource),
        "args": dict(args or {}),
        "expires_at": datetime(2030, 1, 1, tzinfo=UTC),
        "cid": "11",
        "nonce": "n",
    }
    assert given.keys() <= set(Verified._members)
    return make(Verified, **given)


class Recording(AsyncVerifier):
    """Answers with `answer`, or with what was asked for; keeps what it was asked."""

    def __init__(self, answer: object = None) -> None:
        super().__init__(**SETTINGS)
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = []

    async def verify(
        self,
        token: str,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        require_signed_args: bool = False,
    ) -> Verified:
        return self._answered(command, resource, args)

    def _answered(self, command: str, resource: Any, args: Any) -> Verified:
        self.asked.append((command, dict(resource), None if args is None else dict(args)))
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is not None:
            return self.answer  # type: ignore[return-value]
        return verified(command, resource, args)


class RecordingSync(Verifier):
    """`Recording` as a sync verifier."""

    def __init__(self, answer: object = None) -> None:
        super().__init__(**SETTINGS)
        self._twin = Recording(answer)
        self.asked = self._twin.asked

    def verify(
        self,
        token: str,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        require_signed_args: bool = False,
    ) -> Verified:
        return self._twin._answered(command, resource, args)


def client(app: ASGIApp, **settings: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, **settings)
    return httpx.AsyncClient(transport=transport, base_url="http://service")
