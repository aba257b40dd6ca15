"""The issuer keys of each tenant: the active one that signs, and those that are trusted.

A tenant's keys are a log (`nomos.audit.keys`). The first key signs its own row; every other row is
signed by the key that it replaces. Rows from the database are verified by those checkpoints before
they are used, at the start and whenever they change.

`active` and `trusted` are live views, so keys must be looked up each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomos.audit.chain import Head
from nomos.audit.keys import MAX_KEYS, BrokenKeys
from nomos.audit.record import Record
from nomos.errors import ConfigurationError, NomosError
from nomos.server.signing.key_rotation import NewKey, entry, file_of, prove, sign_entry
from nomos.server.signing.keys import KeyFiles, SignerPort
from nomos.server.storage.issuer_keys import ConcurrentRotation, IssuerKey
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.store import Store

CHECK_SECONDS: Final = 1.0
"""The interval of checks for rotations by other processes, in seconds."""

TRIES: Final = 5
"""Tries of a rotation while other processes rotate at the same time."""

log = logging.getLogger("nomos.server")


class NoMoreKeys(NomosError):
    """The key log has reached `MAX_KEYS`, the maximum that verifiers read."""


@dataclass(frozen=True)
class RotationRequest:
    """The requester of a rotation: the app of the API key, and the id of the request."""

    actor: str
    request_id: str | None = None


class IssuerMapping(Mapping[str, str]):
    """A mapping that is computed for each lookup."""

    def __init__(self, now: Callable[[], dict[str, str]]) -> None:
        self._now = now

    def __getitem__(self, name: str) -> str:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())


class Issuers:
    """The issuer keys of a system. `open` makes a tenant's first key."""

    def __init__(
        self, store: Store, keys: KeyFiles, signer: SignerPort, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._keys = keys
        self._signer = signer
        self._clock = clock
        self._found: dict[str, tuple[IssuerKey, ...]] = {}
        self._reading = asyncio.Lock()
        self._rotating = asyncio.Lock()
        self.active: Mapping[str, str] = IssuerMapping(self._active)
        """The DID that signs for each tenant."""
        self.trusted: Mapping[str, str] = IssuerMapping(self._trusted)
        """The tenant of each DID whose tokens are accepted."""

    async def open(self, tenant: str) -> None:
        """Make the first key, or load the active one. ConfigurationError for a wrong file."""
        try:
            await self.refresh()
        except BrokenKeys as broken:
            raise ConfigurationError(
                f"the database's key log is not valid: {broken}. Restore it from a backup",
                setting="data",
            ) from None
        if tenant in self._found:
            current = self._current(tenant)
            await self._own(current.file, current.did)
            return
        # A database of an older version has its tenant's key, and no log of keys yet.
        name = file_of(tenant, 1)
        did = await self._own(name, await self._store.issuer_of(tenant))
        at = self._now()
        first = await sign_entry(self._signer, NewKey(tenant, did, name, at), did, Head())
        await self._store.issuer_keys.begin(first, at)
        await self.refresh()

    def log_of(self, tenant: str) -> tuple[IssuerKey, ...]:
        """Return the tenant's keys, oldest first."""
        return self._found.get(tenant, ())

    async def entries(self, tenant: str) -> list[dict[str, Any]]:
        """Return the tenant's key log as `nomos.audit.keys` reads it, oldest first."""
        await self.refresh()
        return [entry(key) for key in self.log_of(tenant)]

    async def refresh(self) -> None:
        """Read the keys again, and use them after verification. Raises BrokenKeys."""
        async with self._reading:
            every = await self._store.issuer_keys.every()
            found: dict[str, tuple[IssuerKey, ...]] = {}
            for key in every:
                found[key.tenant] = (*found.get(key.tenant, ()), key)
            if found == self._found:
                return
            for tenant, before in self._found.items():
                _refuse_lost(before, found.get(tenant, ()))
            for keys in found.values():
                await prove(self._signer, keys)
                if self._found:
                    await self._load_key(keys[-1])
            self._found = found

    async def follow(self) -> None:
        """Read the keys again every second, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.refresh()

    async def rotate(
        self, tenant: str, act: RotationRequest, *, revoke_old: bool = False
    ) -> IssuerKey:
        """Make a key that signs from now on.

        Tokens of the key before it stay valid until they expire; with `revoke_old` they are
        rejected at once, and so are those of the key that signed when this was called, if others
        have replaced that one meanwhile. An interrupted rotation may leave a key file, which the
        next rotation uses. Raises NoMoreKeys, ConcurrentRotation.
        """
        meant = self._current(tenant).link.seq
        async with self._rotating:
            for last in range(TRIES - 1, -1, -1):
                await self.refresh()
                keys = self.log_of(tenant)
                olds = [each.did for each in keys[meant - 1 :] if each.state != "revoked"]
                try:
                    await self._rotate(keys[-1], act, revoked=olds if revoke_old else [])
                except ConcurrentRotation:
                    if not last:
                        raise
                    continue
                await self.refresh()
                break
            return self._current(tenant)

    async def _rotate(
        self, old: IssuerKey, act: RotationRequest, *, revoked: Sequence[str] = ()
    ) -> None:
        if old.link.seq >= MAX_KEYS:
            raise NoMoreKeys(f"the tenant has had {MAX_KEYS} keys, the maximum that verifiers read")
        # Otherwise a clock that was set back would retire a key before it was made.
        at = max(self._now(), old.created_at * 1000)
        name = file_of(old.tenant, old.link.seq + 1)
        planned = NewKey(old.tenant, await self._keys.did(name), name, at)
        key = await sign_entry(self._signer, planned, old.did, old.link.head)
        receipts = [_receipt(key, act, at, "rotate", {"did": key.did, "previous": old.did})]
        receipts += [_receipt(key, act, at, "revoke", {"did": did}) for did in revoked]
        await self._store.issuer_keys.succeed(key, at, receipts, revoked=revoked)

    async def _own(self, name: str, known: str | None) -> str:
        """Return the DID of a key file, which must be the one in the database."""
        if known is not None and not self._keys.exists(name):
            raise ConfigurationError(
                f"the key file {name}.key is missing from the data folder's keys, but the "
                "database was made with it. Restore it from a backup, or start with an empty "
                "data folder",
                setting="data",
            )
        did = await self._keys.did(name)
        if known is not None and known != did:
            raise ConfigurationError(
                f"{name}.key is not the key that this database was made with. "
                "Restore the right one from a backup",
                setting="data",
            )
        return did

    async def _load_key(self, key: IssuerKey) -> None:
        """Load a key that another process made; log a failure, after which nothing is signed."""
        try:
            await self._own(key.file, key.did)
        except ConfigurationError:
            log.exception("a key that another process made cannot be used: nothing is signed")

    def _current(self, tenant: str) -> IssuerKey:
        return self._found[tenant][-1]

    def _active(self) -> dict[str, str]:
        return {tenant: keys[-1].did for tenant, keys in self._found.items()}

    def _trusted(self) -> dict[str, str]:
        now = self._clock()
        return {
            key.did: key.tenant
            for keys in self._found.values()
            for key in keys
            if key.accepted(now)
        }

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _refuse_lost(before: Sequence[IssuerKey], now: Sequence[IssuerKey]) -> None:
    """Raise BrokenKeys unless the rows known before are still the first: a log only grows."""
    if [key.link for key in now[: len(before)]] != [key.link for key in before]:
        raise BrokenKeys("rows of the key log that were read before are missing or have changed")


def _receipt(
    key: IssuerKey, act: RotationRequest, at: int, what: str, detail: Mapping[str, Any]
) -> Record:
    return Record(
        id=new_receipt_id(at),
        tenant=key.tenant,
        kind="key",
        at=at,
        actor=act.actor,
        act=what,
        detail=detail,
        request_id=act.request_id,
    )
