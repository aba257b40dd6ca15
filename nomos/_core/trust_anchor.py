"""Trusted issuer keys of a service without a control plane of its own, from the key log. Pure.

The newest key signs. A key that was replaced stays trusted for as long as tokens that it signed may
be in use. Revoked keys are handled by the revocation lookup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from nomos._limits import MAX_LINKS
from nomos.models import MAX_CHAIN_DEPTH, MAX_LEEWAY_SECONDS, MAX_TTL_SECONDS

RETIRING_SECONDS: Final = MAX_TTL_SECONDS + MAX_LEEWAY_SECONDS
"""For how long what a key signed is accepted after another took its place: a token's longest life,
and a minute that clocks may differ by, or a signature may be under way in another process."""


@dataclass(frozen=True)
class TrustedKey:
    """A key of the issuer. `until`: when its last token expires; None for the newest key."""

    did: str
    until: float | None = None


def keys_of(entries: Sequence[Mapping[str, Any]], trusted: Sequence[str]) -> tuple[TrustedKey, ...]:
    """Return the verified keys with the times from their log."""
    rows = [entry["row"] for entry in entries]
    successor = {old["did"]: new for old, new in pairwise(rows)}
    return tuple(TrustedKey(did, _valid_until(successor.get(did))) for did in trusted)


def _valid_until(successor: Mapping[str, Any] | None) -> float | None:
    """Return when the last token of a key with this successor expires; None without a successor."""
    if successor is None:
        return None
    at = successor.get("at")
    # Without a time the key is not trusted.
    return at / 1000 + RETIRING_SECONDS if isinstance(at, int) else 0.0


@dataclass(frozen=True)
class TrustAnchor:
    """Where trust in an issuer begins: one key of its log; its successors are trusted, too."""

    tenant: str
    did: str
    entries: list[Any] = field(repr=False)
    max_depth: int = MAX_CHAIN_DEPTH


class NoTrustAnchor(ValueError):
    """The control plane's document has no usable trust anchor; the message says why."""


def find_trust_anchor(document: Mapping[str, Any], pinned: str | None) -> TrustAnchor:
    """Return the trust anchor in `/.well-known/nomos`; its key log is not verified yet.

    Without a pinned DID it is the first key of the log: tokens of newer keys, and unexpired ones of
    older keys, are accepted. Raises `NoTrustAnchor`.
    """
    rows = _rows(document.get("keys"))
    if pinned is not None and all(did != pinned for _, did, _ in rows):
        raise NoTrustAnchor(f"{pinned} is not among its issuer keys")
    tenants = {tenant for tenant, did, _ in rows if pinned in (None, did)}
    if len(tenants) != 1:
        raise NoTrustAnchor("it has several tenants: pass trust_anchor=did:key:… to choose one")
    (tenant,) = tenants
    own = [(did, entry) for whose, did, entry in rows if whose == tenant]
    entries = [entry for _, entry in own]
    return TrustAnchor(tenant, pinned or own[0][0], entries, _max_depth(document.get("limits")))


def _rows(entries: object) -> list[tuple[str, str, Any]]:
    """Return the entries of all key logs, each with tenant and DID. Raises `NoTrustAnchor`."""
    if not isinstance(entries, list) or not entries:
        raise NoTrustAnchor("it lists no issuer key")
    rows = []
    for entry in entries:
        row = entry.get("row") if isinstance(entry, dict) else None
        match row:
            case {"tenant": str(tenant), "did": str(did)}:
                rows.append((tenant, did, entry))
            case _:
                raise NoTrustAnchor("its keys are not a key log")
    return rows


def _max_depth(limits: object) -> int:
    """Return the control plane's limit of delegations in a chain, if it states a valid one."""
    match limits:
        case {"chainDepth": int(deepest)} if 1 <= deepest <= MAX_LINKS:
            return deepest
    return MAX_CHAIN_DEPTH


class TrustedIssuers(Mapping[str, str]):
    """The DIDs that may root a chain now, each with its tenant."""

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
        """Replace the keys by a log that continues the known one; False if it does not."""
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
