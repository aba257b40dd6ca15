"""Interfaces of a verifier's revocation lookup and replay store, for your own implementations."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Protocol

from nomos._core.revocation_status import Seen


class Revocations(Protocol):
    """Where a service looks up revocations."""

    def among(self, ids: Collection[str]) -> Seen:
        """Return those of `ids` (cids, DIDs, apps, envelopes) that are revoked, and as of when."""
        ...


class AsyncRevocations(Protocol):
    """The same as `Revocations`, with a method to be awaited."""

    async def among(self, ids: Collection[str]) -> Seen:
        """See `Revocations.among`."""
        ...


class Replay(Protocol):
    """Where used nonces are stored, for as long as they could be used again."""

    def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        """Return True to exactly one caller, ever; `expires_at` is in Unix seconds.

        The claim must be durable when this returns, and kept for two minutes beyond `expires_at`.
        """
        ...


class AsyncReplay(Protocol):
    """The same as `Replay`, with a method to be awaited."""

    async def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> bool:
        """See `Replay.claim`."""
        ...


class Fixed:
    """Revocations given as a collection of ids, which counts as complete at any time."""

    instant: ClassVar = True

    def __init__(self, ids: Collection[str]) -> None:
        self._ids = ids

    def among(self, ids: Collection[str]) -> Seen:
        """Return those of `ids` that are revoked."""
        return Seen(frozenset(each for each in ids if each in self._ids))
