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
from nomos.server.storage.anchor import AnchorMark
from nomos.server.storage.anchor_keeper import AnchorKeeper
from nomos.server.storage.apps import Apps
from nomos.server.storage.bundles import Policies
from nomos.server.storage.checkpoints import AuditLog
from nomos.server.storage.database import Database
from nomos.server.storage.delegations import DelegationTable
from nomos.server.storage.envelopes import Envelopes
from nomos.server.storage.failures import Forgotten
from nomos.server.storage.identifiers import new_ident
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
        self._database = Database(folder)
        self._clock = clock
        self.steady = steady or Steady(clock)
        self._probing = WriteProbe(self._probe)
        self.sessions = Sessions(self._database, clock, self.steady)
        self._claims = itertools.count()
        self._shares = NonceShares()
        self._answers = itertools.count()
        self.outbox = Outbox(self._database, clock, self.steady)
        self.apps = Apps(self._database, clock)
        self.log = AuditLog(self._database)
        self.delegations = DelegationTable(self._database)
        self.swarms = Swarms(self._database)
        self.feed = revocations.RevocationLog(self._database)
        self.services = Services(self._database)
        self.service_grants = ServiceGrants(self._database, clock, self.steady)
        self.policies = Policies(self._database)
        self.issuer_keys = IssuerKeys(self._database)
        self.envelopes = Envelopes(self._database, clock, self.outbox, self.steady)

    async def migrate(self) -> None:
        """Make the tables, or bring those of an older version up to date."""
        await self._database.write(upgrade)

    # The state of the database

    @property
    def mark(self) -> AnchorMark:
        """The mark of the last commit that was counted."""
        return self._database.mark

    async def keep(self, keeping: Callable[[], AnchorKeeper]) -> None:
        """Count every commit, and check the files with each, from now on."""
        await self._database.keep(keeping)

    def lost(self, why: str) -> bool:
        """Refuse all work from now on, because data was lost; False if that was so before."""
        return self._database.lost(why)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent view of the database."""
        return await self._database.read(work)

    async def read_afresh(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as `read` does, on a new connection, which has nothing cached."""
        return await self._database.read_afresh(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and return its value once that is on the disk."""
        return await self._database.write(work)

    async def close(self) -> None:
        """Finish running writes and release the files."""
        await self._database.close()

    async def ready(self) -> None:
        """Raise StorageUnavailable if no decision could be stored; tried at most once a second."""
        await self._probing.result()

    async def _probe(self) -> None:
        now = self._clock()
        await asyncio.to_thread(check_room, self._folder)
        await self._database.write(lambda connection: probe(connection, now))

    # What the PDP needs

    async def revoked(self, ids: Collection[str]) -> frozenset[str]:
        """Return those of these cids and DIDs that are revoked."""
        return await self._database.read(lambda connection: revocations.revoked_of(connection, ids))

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
            self._shares.check(connection, issuer, family, now)
            first = nonces.claim(connection, used)
            until = nonces.forgotten_until(connection, expires_at) if first else None
            if until is not None:
                raise Forgotten(until)
            return first

        return await self._database.write(work)

    async def record(self, receipt: Record) -> None:
        """Store a receipt."""
        await self._database.write(lambda connection: records.add(connection, receipt))

    # What the control plane needs

    async def record_answer(
        self, receipt: Record, stored: StoredAnswer | None
    ) -> StoredAnswer | None:
        """Store a receipt, and the answer to be repeated if the question had a key.

        If the key was answered meanwhile, nothing is stored, and that answer is returned.
        """
        prune = next(self._answers) % idempotency.PRUNE_EVERY == 0
        now = self.steady.now() if prune else None
        return await self._database.write(
            lambda connection: idempotency.add_recorded(connection, receipt, stored, now)
        )

    async def prior(
        self, app: str, key: str | None, ids: Collection[str]
    ) -> tuple[StoredAnswer | None, frozenset[str]]:
        """Return the answer to this idempotency key, and those of these ids that are revoked."""
        now = 0 if key is None else self._now()

        def find(connection: Connection) -> tuple[StoredAnswer | None, frozenset[str]]:
            stored = None if key is None else idempotency.find(connection, app, key, now)
            return stored, revocations.revoked_of(connection, ids)

        return await self._database.read(find)

    async def row(self, tenant: str, ident: str) -> Row | None:
        """Return one record of the tenant, with its row of the log."""
        return await self._database.read(lambda connection: records.find(connection, tenant, ident))

    async def rows(
        self, tenant: str, limit: int = 100, *, app: str | None = None, before: int | None = None
    ) -> tuple[Found, ...]:
        """Return the tenant's latest records, newest first; `app` and `before` restrict them."""
        return await self._database.read(
            lambda connection: records.newest(connection, tenant, limit, app=app, before=before)
        )

    async def decisions_since(self, at: int) -> Sequence[tuple[str, int, int]]:
        """Return the number of decisions for each app in each second since `at` (milliseconds)."""
        return await self._database.read(lambda connection: records.decisions_since(connection, at))

    async def keys_of(self, app: str) -> tuple[ApiKey, ...]:
        """Return the API keys of an app."""
        return await self._database.read(lambda connection: api_keys.keys_of(connection, app))

    async def add_app(self, app: App, key: ApiKey, *, succeeds: bool = False) -> None:
        """Register an app with its first API key.

        If it `succeeds` other apps of its name that the server made, it takes over their agents.
        """

        def work(connection: Connection) -> None:
            apps.add(connection, app)
            if succeeds:
                apps.take_agents(connection, app)
            api_keys.add_key(
                connection, new_ident("key", app.created_at * 1000), key, app.created_at
            )

        await self._database.write(work)

    async def issuer_of(self, tenant: str) -> str | None:
        """Return the DID that signs for a tenant."""
        return await self._database.read(lambda connection: tenants.issuer_of(connection, tenant))

    def _now(self) -> int:
        return int(self._clock())
