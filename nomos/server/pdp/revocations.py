"""Revocation lookups of the PDP.

A view returns which of some identifiers are revoked. A PDP that shares the control plane's database
reads it there and is never behind; a standalone PDP follows the feed
(`nomos._io.revocation_feed`) and reports how far behind it may be.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from nomos._core.revocation_status import RevocationStatus


class RevocationView(Protocol):
    """Looks up revocations."""

    async def lookup(self, ids: Collection[str]) -> RevocationStatus:
        """Return those of `ids` (cids, DIDs, apps, envelopes) that are revoked."""
        ...


class RevocationPort(Protocol):
    """The store of revocations: `nomos.server.storage.store.Store`."""

    async def revoked(self, ids: Collection[str]) -> frozenset[str]: ...


class StoreView:
    """Revocations as the database has them now."""

    def __init__(self, store: RevocationPort) -> None:
        self._store = store

    async def lookup(self, ids: Collection[str]) -> RevocationStatus:
        """Return those of `ids` that are revoked at this moment."""
        return RevocationStatus(await self._store.revoked(ids))
