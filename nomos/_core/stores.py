"""What a verifier looks things up in, and where it claims what works once. Write your own."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Protocol

from nomos._core.revocation_status import RevocationStatus


class RevocationStore(Protocol):
    """Where a service looks up what was revoked."""

    def lookup(self, ids: Collection[str]) -> RevocationStatus:
        """Return those of `ids` (cids, DIDs, apps, envelopes) that are revoked, and as of when."""
        ...


class AsyncRevocationStore(Protocol):
    """`RevocationStore`, awaited."""

    async def lookup(self, ids: Collection[str]) -> RevocationStatus:
        """See `RevocationStore.lookup`."""
        ...


class ReplayStore(Protocol):
    """Where it is kept what was used, for as long as it could be used again."""

    def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        """Return True to exactly one caller, ever; `expires_at` is in Unix seconds.

        It has to be durable when this returns, and is kept for two minutes beyond `expires_at`.
        """
        ...


class AsyncReplayStore(Protocol):
    """`ReplayStore`, awaited."""

    async def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        """See `ReplayStore.claim`."""
        ...


class StaticRevocations:
    """Revocations given as a plain collection of ids: all that there are, whenever it is asked."""

    instant: ClassVar = True

    def __init__(self, ids: Collection[str]) -> None:
        self._ids = ids

    def lookup(self, ids: Collection[str]) -> RevocationStatus:
        """Return those of `ids` that are revoked."""
        return RevocationStatus(frozenset(each for each in ids if each in self._ids))
