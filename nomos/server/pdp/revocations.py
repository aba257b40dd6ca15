"""What the PDP knows of revocations, and how old that knowledge is.

A view answers which of some identifiers are revoked. A PDP that shares the control plane's
database reads it there and is never behind; one that stands alone follows the feed
(`nomos.server.pdp.follow`) and says how far behind it may be. Who asks decides how old is too
old: not to know is never the same as not revoked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Seen:
    """Those that are revoked, as of `age` seconds ago.

    `trouble` says for people why the view is not younger, where that is known.
    """

    ids: frozenset[str]
    age: int = 0
    trouble: str | None = None


class View(Protocol):
    """Where revocations are looked up."""

    async def among(self, ids: Collection[str]) -> Seen:
        """Return those of `ids` (cids, DIDs, apps, envelopes) that are revoked."""
        ...


class Revocations(Protocol):
    """A store that has the revocations themselves: `nomos.server.storage.store.Store`."""

    async def revoked(self, ids: Collection[str]) -> frozenset[str]: ...


class StoreView:
    """Revocations as the database has them now."""

    def __init__(self, store: Revocations) -> None:
        self._store = store

    async def among(self, ids: Collection[str]) -> Seen:
        """Return those of `ids` that are revoked at this moment."""
        return Seen(await self._store.revoked(ids))
