"""`Store`: the interface of storage, each method one transaction."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.server.domain.accounts import ApiKey, App
from nomos.server.domain.authorization import StoredAnswer
from nomos.server.storage import (
    api_keys,
    apps,
    idempotency,
    nonces,
    records,
    revocations,
    tenants,
)
from nomos.server.storage.apps import Apps
from nomos.server.storage.bundles import Policies
from nomos.server.storage.checkpoints import AuditLog
from nomos.server.storage.database import Database
from nomos.server.storage.delegations import DelegationTable
from nomos.server.storage.envelopes import Envelopes
from nomos.server.storage.issuer_key_rotation import IssuerKeys
from nomos.server.storage.migrate import upgrade
from nomos.server.storage.outbox import Outbox
from nomos.server.storage.records import Found, Row
from nomos.server.storage.service_grants import ServiceGrants
from nomos.server.storage.services import Services
from nomos.server.storage.sessions import Sessions
from nomos.server.storage.shares import NonceShares
from nomos.server.storage.steady_clock import Steady
from nomos.server.storage.swarms import Swarms
from nomos.server.storage.write_probe import WriteProbe, check_room, probe

T = TypeVar("T")


class Store:
    """The storage of one system. When a method that writes returns, its data is on the disk."""

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.time,
        *,
        steady: Steady | None = None,
    ) -> None:
        self._folder = folder
        self.database = Database(folder)
        """For reading and writing rows directly."""
        self._clock = clock
        self.steady = steady or Steady(clock)
        self._probing = WriteProbe(self._probe)
        self.sessions = Sessions(self.database, clock, self.steady)
        self._claims = itertools.count()
        self._shares = NonceShares()
        self._answers = itertools.count()
        self.outbox = Outbox(self.database, clock, self.steady)
        self.apps = Apps(self.database, clock)
        self.log = AuditLog(self.database)
        self.delegations = DelegationTable(self.database)
        self.swarms = Swarms(self.database)
        self.feed = revocations.RevocationLog(self.database)
        self.services = Services(self.database)
        self.service_grants = ServiceGrants(self.database, clock, self.steady)
        self.policies = Policies(self.database)
        self.issuer_keys = IssuerKeys(self.database)
        self.envelopes = Envelopes(self.database, clock, self.outbox, self.steady)

    async def migrate(self) -> None:
        """Make the tables, or bring those of an older version up to date."""
        await self.database.write(upgrade)

    async def close(self) -> None:
        """Finish running writes and release the files."""
        await self.database.close()

    async def ready(self) -> None:
        """Raise StorageUnavailable if no decision could be stored; tried at most once a second."""
        await self._probing.result()

    async def _probe(self) -> None:
        now = self._clock()
        await asyncio.to_thread(check_room, self._folder)
        await self.database.write(probe, now)

    # What the PDP needs

    async def revoked(self, ids: Collection[str]) -> frozenset[str]:
        """Return those of these cids and DIDs that are revoked."""
        return await self.database.read(revocations.revoked_of, ids)

    async def claim_nonce(
        self, issuer: str, audience: str, nonce: str, expires_at: int, family: str | None = None
    ) -> bool:
        """Return True once for each nonce, also for concurrent callers and after a crash.

        Raises Forgotten for one that may have been used and deleted while the clock was ahead.
        Raises ShareExceeded for an issuer that has used too many, or an app (`family`) whose agents
        have.
        """
        used = nonces.UsedNonce(issuer, audience, nonce, expires_at, family)
        prune, now = next(self._claims) % nonces.PRUNE_EVERY == 0, self._now()

        def work(connection: Connection) -> bool:
            if prune:
                nonces.prune(connection, now)
            return self._shares.claim(connection, used, now)

        return await self.database.write(work)

    async def record(self, receipt: Record) -> None:
        """Store a receipt."""
        await self.database.write(records.add, receipt)

    # What the control plane needs

    async def record_answer(self, receipt: Record, stored: StoredAnswer) -> StoredAnswer | None:
        """Store a receipt and a repeatable answer, or return the answer that its key has."""
        prune = next(self._answers) % idempotency.PRUNE_EVERY == 0
        now = self.steady.now() if prune else None
        return await self.database.write(idempotency.add_recorded, receipt, stored, now)

    async def prior(
        self, app: str, key: str | None, ids: Collection[str]
    ) -> tuple[StoredAnswer | None, frozenset[str]]:
        """Return the answer to this idempotency key, and those of these ids that are revoked."""
        now = self._now()

        def find(connection: Connection) -> tuple[StoredAnswer | None, frozenset[str]]:
            stored = idempotency.find(connection, app, key or "", now)
            return stored, revocations.revoked_of(connection, ids)

        return await self.database.read(find)

    async def row(self, tenant: str, ident: str) -> Row | None:
        """Return one record of the tenant, with its row of the log."""
        return await self.database.read(records.find, tenant, ident)

    async def rows(
        self, tenant: str, limit: int = 100, *, app: str | None = None, before: int | None = None
    ) -> tuple[Found, ...]:
        """Return the tenant's latest records, newest first; `app` and `before` restrict them."""
        return await self.database.read(records.newest, tenant, limit, app=app, before=before)

    async def decisions_since(self, at: int) -> Sequence[tuple[str, int, int]]:
        """Return the number of decisions for each app in each second since `at` (milliseconds)."""
        return await self.database.read(records.decisions_since, at)

    async def keys_of(self, app: str) -> tuple[ApiKey, ...]:
        """Return the API keys of an app."""
        return await self.database.read(api_keys.keys_of, app)

    async def add_app(self, app: App, key: ApiKey, *, succeeds: bool = False) -> None:
        """Register an app with its first API key.

        If it `succeeds` other apps of its name that the server made, it takes over their agents.
        """

        def work(connection: Connection) -> None:
            apps.add(connection, app)
            if succeeds:
                apps.take_agents(connection, app)
            api_keys.add_key(connection, key, app.created_at)

        await self.database.write(work)

    async def issuer_of(self, tenant: str) -> str | None:
        """Return the DID that signs for a tenant."""
        return await self.database.read(tenants.issuer_of, tenant)

    def _now(self) -> int:
        return int(self._clock())
