"""Interfaces of a verifier's revocation lookup and replay store, for your own implementations."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Protocol

from nomos._core.revocation_status import RevocationStatus


class RevocationStore(Protocol):
    """Where a service looks up revocations."""

    def lookup(self, ids: Collection[str]) -> RevocationStatus:
        """Return those of `ids` (cids, DIDs, apps, envelopes) that are revoked, and their age.

        An exception, or a `RevocationStatus` that is too old, rejects the token.
        """
        ...


class AsyncRevocationStore(Protocol):
    """The same as `RevocationStore`, with a method to be awaited."""

    async def lookup(self, ids: Collection[str]) -> RevocationStatus:
        """See `RevocationStore.lookup`."""
        ...


class ReplayStore(Protocol):
    """Where used nonces are stored, for as long as they could be used again."""

    def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        """Return True for exactly one caller, ever, and False for every other.

        A claim is named by `issuer`, `audience` and `nonce`; `expires_at` is the expiry of its
        token in Unix seconds. An exception rejects the token as `unavailable`. The claim must be
        durable when this returns, and kept for two minutes beyond `expires_at`.
        """
        ...


class AsyncReplayStore(Protocol):
    """The same as `ReplayStore`, with a method to be awaited."""

    async def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        """See `ReplayStore.claim`."""
        ...


class StaticRevocations:
    """Revocations given as a collection of ids, which counts as complete at any time."""

    instant: ClassVar = True

    def __init__(self, ids: Collection[str]) -> None:
        self._ids = ids

    def lookup(self, ids: Collection[str]) -> RevocationStatus:
        """Return those of `ids` that are revoked."""
        return RevocationStatus(frozenset(each for each in ids if each in self._ids))
