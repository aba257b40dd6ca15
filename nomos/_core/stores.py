"""What a verifier looks things up in, and where it claims what works once. Write your own."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Protocol

from nomos._core.revocation_status import Seen


class Revocations(Protocol):
    """Where a service looks up what was revoked."""

    def among(self, ids: Collection[str]) -> Seen:
        """Return those of `ids` (cids, DIDs, apps, envelopes) that are revoked, and as of when."""
        ...


class AsyncRevocations(Protocol):
    """`Revocations`, awaited."""

    async def among(self, ids: Collection[str]) -> Seen:
        """See `Revocations.among`."""
        ...


class Replay(Protocol):
    """Where it is kept what was used, for as long as it could be used again."""

    def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        """Return True to exactly one caller, ever; `expires_at` is in Unix seconds.

        It has to be durable when this returns, and is kept for two minutes beyond `expires_at`.
        """
        ...


class AsyncReplay(Protocol):
    """`Replay`, awaited."""

    async def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        """See `Replay.claim`."""
        ...


class Fixed:
    """Revocations given as a plain collection of ids: all that there are, whenever it is asked."""

    instant: ClassVar = True

    def __init__(self, ids: Collection[str]) -> None:
        self._ids = ids

    def among(self, ids: Collection[str]) -> Seen:
        """Return those of `ids` that are revoked."""
        return Seen(frozenset(each for each in ids if each in self._ids))
