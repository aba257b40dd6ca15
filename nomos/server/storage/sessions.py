"""Sessions of operators in the approval pages, and the one-time links that begin them.

Of a link and of a session only the sha256 of its secret is stored. A session acts for an operator's
app, whose rights are read for each use: if it is disabled, or has no operator's key, the session is
invalid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.server.domain.accounts import ApiKey
from nomos.server.storage import api_keys, records
from nomos.server.storage.database import Database
from nomos.server.storage.steady_clock import Steady
from nomos.server.storage.tables import apps, login_links, sessions

KEEP_SECONDS: Final = 24 * 60 * 60
"""How long a link is stored after its expiry, so that a message can say why it does not work."""

AHEAD_SECONDS: Final = 60
"""How far in the future the start of a valid session may lie, in seconds."""

MOST_LINKS: Final = 50
MOST_SESSIONS: Final = 50
"""The maximum number of links and sessions of one operator; beyond that, the oldest end."""


@dataclass(frozen=True)
class Issue:
    """A new link or session: the hash of its secret, its operator and its times."""

    hash: str
    tenant: str
    operator: str
    created_at: int
    expires_at: int


@dataclass(frozen=True)
class LoginLink:
    """A one-time link, used or not."""

    tenant: str
    operator: str
    name: str
    expires_at: int
    used_at: int | None


@dataclass(frozen=True)
class Session:
    """A session that is valid now, with the operator's keys, of which there is at least one."""

    tenant: str
    operator: str
    name: str
    expires_at: int
    keys: tuple[ApiKey, ...]


class Sessions:
    """Links and sessions; each change is one transaction."""

    def __init__(self, database: Database, clock: Callable[[], float], steady: Steady) -> None:
        self._database = database
        self._clock = clock
        self._steady = steady

    async def add_link(self, link: Issue, *, key: ApiKey | None = None) -> bool:
        """Store a new link; False, with nothing stored, if `key` is no longer the operator's."""

        def work(connection: Connection) -> bool:
            if key is not None and not _is_held(connection, key):
                return False
            _prune(connection, self._steady.now())
            _insert(connection, login_links, link, MOST_LINKS)
            return True

        return await self._database.write(work)

    async def link(self, digest: str) -> LoginLink | None:
        """Return a link whose operator may still sign in; this does not use it."""
        return await self._database.read(_link, digest)

    async def begin(
        self,
        session: Issue,
        receipt: Record,
        *,
        link: str | None = None,
        key: ApiKey | None = None,
    ) -> bool:
        """Begin a session and record that, using up `link` if given.

        False, and nothing is stored, if the link is used, expired or of another operator, or if
        `key`, with which the session begins, is not the operator's any more.
        """

        def work(connection: Connection) -> bool:
            if key is not None and not _is_held(connection, key):
                return False
            _prune(connection, self._steady.now())
            if link is not None and not _use(connection, link, session):
                return False
            _insert(connection, sessions, session, MOST_SESSIONS)
            records.add(connection, receipt)
            return True

        return await self._database.write(work)

    async def find(self, digest: str) -> Session | None:
        """Return the session of that hash, if it is valid now."""
        now = int(self._clock())
        return await self._database.read(_find, digest, now)

    async def end(self, digest: str, receipt: Record) -> bool:
        """End a session and record that; False if there is none."""

        def work(connection: Connection) -> bool:
            ended = connection.execute(sessions.delete().where(sessions.c.hash == digest))
            if ended.rowcount != 1:
                return False
            records.add(connection, receipt)
            return True

        return await self._database.write(work)


def _link(connection: Connection, digest: str) -> LoginLink | None:
    row = connection.execute(
        sa.select(login_links, apps.c.name)
        .join(apps, apps.c.id == login_links.c.operator)
        .where(login_links.c.hash == digest)
    ).first()
    if row is None or not _operating(connection, row.tenant, row.operator):
        return None
    return LoginLink(row.tenant, row.operator, row.name, row.expires_at, row.used_at)


def _use(connection: Connection, digest: str, session: Issue) -> bool:
    used = connection.execute(
        login_links.update()
        .where(
            login_links.c.hash == digest,
            login_links.c.tenant == session.tenant,
            login_links.c.operator == session.operator,
            login_links.c.expires_at > session.created_at,
            login_links.c.created_at <= session.created_at + AHEAD_SECONDS,
            login_links.c.used_at.is_(None),
        )
        .values(used_at=session.created_at)
    )
    return used.rowcount == 1


def _find(connection: Connection, digest: str, now: int) -> Session | None:
    row = connection.execute(
        sa.select(sessions, apps.c.name)
        .join(apps, apps.c.id == sessions.c.operator)
        .where(
            sessions.c.hash == digest,
            sessions.c.expires_at > now,
            sessions.c.created_at <= now + AHEAD_SECONDS,
        )
    ).first()
    if row is None:
        return None
    keys = _operating(connection, row.tenant, row.operator)
    if not keys:
        return None
    return Session(row.tenant, row.operator, row.name, row.expires_at, keys)


def _operating(connection: Connection, tenant: str, app: str) -> tuple[ApiKey, ...]:
    """Return the keys that make this app an operator now."""
    return tuple(
        key
        for key in api_keys.keys_of(connection, app)
        if key.role == "operator" and key.tenant == tenant and not key.disabled
    )


def _is_held(connection: Connection, key: ApiKey) -> bool:
    """Return whether this key is one of the operator's: it may have been replaced meanwhile."""
    held = _operating(connection, key.tenant, key.app)
    return key.secret_hash in [each.secret_hash for each in held]


def _insert(connection: Connection, table: sa.Table, issue: Issue, most: int) -> None:
    kept = (
        sa.select(table.c.hash)
        .where(table.c.operator == issue.operator)
        .order_by(table.c.created_at.desc(), table.c.hash)
        .limit(most - 1)
    )
    connection.execute(
        table.delete().where(table.c.operator == issue.operator, table.c.hash.not_in(kept))
    )
    connection.execute(table.insert(), dict(vars(issue)))


def _prune(connection: Connection, now: int | None) -> None:
    if now is None:
        return
    connection.execute(login_links.delete().where(login_links.c.expires_at < now - KEEP_SECONDS))
    connection.execute(sessions.delete().where(sessions.c.expires_at <= now))
