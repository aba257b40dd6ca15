"""Which keys may root a chain, as a service that stands alone learns it from the key log.

The newest key signs. One that it has replaced is trusted for as long as what it signed may
still be in use. Which of them are revoked is the business of the revocations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

RETIRING_SECONDS: Final = 3600 + 60
"""A token's longest life, and what clocks may differ by."""


@dataclass(frozen=True)
class Key:
    """A key of the issuer. `until`: when its last token has expired; None for the newest."""

    did: str
    until: float | None = None


def keys_of(entries: Sequence[Mapping[str, Any]], trusted: Sequence[str]) -> tuple[Key, ...]:
    """Return the keys that were proven, with the times that their log has."""
    rows = [entry["row"] for entry in entries]
    successor = {old["did"]: new for old, new in pairwise(rows)}
    return tuple(Key(did, _until(successor.get(did))) for did in trusted)


def _until(successor: Mapping[str, Any] | None) -> float | None:
    """When a key whose successor came at that time may have nothing left in use."""
    if successor is None:
        return None
    at = successor.get("at")
    # Without a time to go by the key is not trusted any more.
    return at / 1000 + RETIRING_SECONDS if isinstance(at, int) else 0.0


class TrustedIssuers(Mapping[str, str]):
    """The DIDs that may root a chain now, each with the tenant that it signs for."""

    def __init__(self, pinned: str, tenant: str, clock: Callable[[], float]) -> None:
        self.pinned = pinned
        self._keys: tuple[Key, ...] = (Key(pinned),)
        self._tenant = tenant
        self._clock = clock

    @property
    def active(self) -> str:
        """The key that signs now."""
        return self._keys[-1].did

    def follow(self, keys: Sequence[Key]) -> bool:
        """Take over a key log that goes on from what is known; False for one that does not."""
        known = [key.did for key in self._keys]
        if [key.did for key in keys[: len(known)]] != known:
            return False
        self._keys = tuple(keys)
        return True

    def __getitem__(self, did: str) -> str:
        now = self._clock()
        for key in self._keys:
            if key.did == did and (key.until is None or now < key.until):
                return self._tenant
        raise KeyError(did)

    def __iter__(self) -> Iterator[str]:
        return (key.did for key in self._keys if key.did in self)

    def __contains__(self, did: object) -> bool:
        return isinstance(did, str) and self.get(did) is not None

    def __len__(self) -> int:
        return sum(1 for _ in self)
