"""Which keys may root a chain, as a service that stands alone learns it from the key log. Pure.

The newest key signs. One that it has replaced is trusted for as long as what it signed may
still be in use. Which of them are revoked is the business of the revocations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from nomos.models import MAX_CHAIN_DEPTH

DEEPEST: Final = 32
"""Delegations in a chain, more than which nobody can be made to accept."""

RETIRING_SECONDS: Final = 3600 + 60
"""A token's longest life, and what clocks may differ by."""


@dataclass(frozen=True)
class TrustedKey:
    """A key of the issuer. `until`: when its last token has expired; None for the newest."""

    did: str
    until: float | None = None


def keys_of(entries: Sequence[Mapping[str, Any]], trusted: Sequence[str]) -> tuple[TrustedKey, ...]:
    """Return the keys that were proven, with the times that their log has."""
    rows = [entry["row"] for entry in entries]
    successor = {old["did"]: new for old, new in pairwise(rows)}
    return tuple(TrustedKey(did, _valid_until(successor.get(did))) for did in trusted)


def _valid_until(successor: Mapping[str, Any] | None) -> float | None:
    """When a key whose successor came at that time may have nothing left in use."""
    if successor is None:
        return None
    at = successor.get("at")
    # Without a time to go by the key is not trusted any more.
    return at / 1000 + RETIRING_SECONDS if isinstance(at, int) else 0.0


@dataclass(frozen=True)
class TrustAnchor:
    """Where trust in an issuer begins: one key of its log, whose successors are trusted, too."""

    tenant: str
    did: str
    entries: list[Any] = field(repr=False)
    max_depth: int = MAX_CHAIN_DEPTH


class NoTrustAnchor(ValueError):
    """A control plane from which trust cannot begin as asked; the message says why."""


def find_trust_anchor(document: Mapping[str, Any], pinned: str | None) -> TrustAnchor:
    """Return where trust begins, as `/.well-known/nomos` has it; its key log is still to be proven.

    Without a pinned DID that is the first key of the log: what the newer ones signed, and what
    older ones did that may still be in use, is honoured. Raises NoTrustAnchor.
    """
    rows = _rows(document.get("keys"))
    if pinned is not None and all(did != pinned for _, did, _ in rows):
        raise NoTrustAnchor(f"{pinned} is none of the keys that sign there")
    tenants = {tenant for tenant, did, _ in rows if pinned in (None, did)}
    if len(tenants) != 1:
        raise NoTrustAnchor("it signs for several tenants, so say which one: pinned=did:key:…")
    (tenant,) = tenants
    own = [(did, entry) for whose, did, entry in rows if whose == tenant]
    entries = [entry for _, entry in own]
    return TrustAnchor(tenant, pinned or own[0][0], entries, _max_depth(document.get("limits")))


def _rows(entries: object) -> list[tuple[str, str, Any]]:
    """Return the entries of all key logs, each with its tenant and DID. Raises NoTrustAnchor."""
    if not isinstance(entries, list) or not entries:
        raise NoTrustAnchor("it shows no key that signs")
    rows = []
    for entry in entries:
        row = entry.get("row") if isinstance(entry, dict) else None
        match row:
            case {"tenant": str(tenant), "did": str(did)}:
                rows.append((tenant, did, entry))
            case _:
                raise NoTrustAnchor("what it shows as keys is no log of keys")
    return rows


def _max_depth(limits: object) -> int:
    """How deep the control plane lets chains become, where it says so within reason."""
    match limits:
        case {"chainDepth": int(deepest)} if 1 <= deepest <= DEEPEST:
            return deepest
    return MAX_CHAIN_DEPTH


class TrustedIssuers(Mapping[str, str]):
    """The DIDs that may root a chain now, each with the tenant that it signs for."""

    def __init__(self, pinned: str, tenant: str, clock: Callable[[], float]) -> None:
        self.pinned = pinned
        self._keys: tuple[TrustedKey, ...] = (TrustedKey(pinned),)
        self._tenant = tenant
        self._clock = clock

    @property
    def active(self) -> str:
        """The key that signs now."""
        return self._keys[-1].did

    def follow(self, keys: Sequence[TrustedKey]) -> bool:
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
