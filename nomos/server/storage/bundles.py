"""Storage of policy versions and of their activations.

A version has the sources and facts that were uploaded; the last activation says which one is
active. Both are numbered from 1 and stay, so that the active version of any time can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.policy.bundle import Source
from nomos.server.storage import records
from nomos.server.storage.damaged_rows import Listed, Rows, listed, one, one_of, texts
from nomos.server.storage.database import Database
from nomos.server.storage.tables import activations, bundles

Origin = Literal["file", "api"]  # `file`: read at a server's start; `api`: uploaded while it ran
ORIGINS: Final[tuple[Origin, ...]] = get_args(Origin)

Act = Literal["put", "activate", "rollback"]


@dataclass(frozen=True)
class Content:
    """The content of a version; `hash` is the bundle's, which receipts name.

    The hash is made of Cedar's own form of the policies, which a newer Cedar may write differently.
    So contents are equal if their texts and facts are; the hash does not count.
    """

    hash: str = field(compare=False)
    sources: tuple[Source, ...] = field(repr=False)
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Version:
    """One version; `by` is the app that uploaded it, None for files. Times are Unix seconds."""

    number: int
    content: Content
    origin: Origin
    at: int
    by: str | None


@dataclass(frozen=True)
class Activation:
    """The `number`th activation of a version."""

    number: int
    version: int
    at: int
    by: str | None


Recorder = Callable[[Act, int, str], Record]
"""Makes the audit record of an action on a version, from its number and hash."""


@dataclass(frozen=True)
class PolicyAuthor:
    """The author of a change for a tenant, and its time in Unix seconds; `by` None: a start."""

    tenant: str
    at: int
    by: str | None
    record: Recorder


class Policies:
    """The versions of all tenants; every change and its audit record are one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, who: PolicyAuthor, content: Content) -> tuple[Version, bool]:
        """Store content as a new version (True), or return the version that has it (False)."""

        def work(connection: Connection) -> tuple[Version, bool]:
            for known in _of_hash(connection, who.tenant, content.hash):
                if known.content == content:
                    return known, False
            added = _add(connection, who, content, "api")
            records.add(connection, who.record("put", added.number, content.hash))
            return added, True

        return await self._database.write(work)

    async def activate(
        self,
        who: PolicyAuthor,
        version: Version,
        *,
        act: Literal["activate", "rollback"] = "activate",
        after: int | None = None,
    ) -> Activation | None:
        """Activate `version`, also again; None, and no change, if `after` is not the last one."""

        def work(connection: Connection) -> Activation | None:
            last = _last(connection, who.tenant)
            if after is not None and (last is None or last.number != after):
                return None
            if last is not None and last.version == version.number:
                return last
            records.add(connection, who.record(act, version.number, version.content.hash))
            return _activate(connection, who, last, version)

        return await self._database.write(work)

    async def adopt(self, who: PolicyAuthor, content: Content) -> tuple[Version, Activation]:
        """Store and activate the content of files, unless the last files had the same.

        Returns the active version: the files', or one that was activated since. A database's
        first version replaces no other, and so makes no record.
        """

        def work(connection: Connection) -> tuple[Version, Activation]:
            filed, last = _last_from_files(connection, who.tenant), _last(connection, who.tenant)
            if filed is not None and filed.content == content and last is not None:
                active = _find(connection, who.tenant, last.version)
                assert active is not None, "an activated version is stored"
                return active, last
            added = _add(connection, who, content, "file")
            if last is not None:
                records.add(connection, who.record("put", added.number, content.hash))
                records.add(connection, who.record("activate", added.number, content.hash))
            return added, _activate(connection, who, last, added)

        return await self._database.write(work)

    async def find(self, tenant: str, number: int) -> Version | None:
        """Return one version of the tenant."""
        return await self._database.read(_find, tenant, number)

    async def listed(self, tenant: str, limit: int, before: int | None = None) -> Listed[Version]:
        """Return the tenant's versions, newest first; optionally only those before a number."""
        wanted = bundles.select().where(bundles.c.tenant == tenant)
        if before is not None:
            wanted = wanted.where(bundles.c.version < before)
        wanted = wanted.order_by(bundles.c.version.desc()).limit(limit)
        return await self._database.read(listed, wanted, bundles.c.version, _versions)

    async def active(self, tenant: str) -> Activation | None:
        """Return the last activation."""
        return await self._database.read(_last, tenant)

    async def before(self, tenant: str, last: Activation) -> Version | None:
        """Return the version that was active before that of `last`."""
        of_version = sa.and_(
            activations.c.tenant == bundles.c.tenant, activations.c.version == bundles.c.version
        )
        wanted = (
            bundles.select()
            .join(activations, of_version)
            .where(
                bundles.c.tenant == tenant,
                activations.c.number < last.number,
                activations.c.version != last.version,
            )
            .order_by(activations.c.number.desc())
        )
        what = "the version of the policies that was active before"
        return await self._database.read(one, wanted, _versions, what)


def _of_hash(connection: Connection, tenant: str, digest: str) -> Sequence[Version]:
    wanted = bundles.select().where(bundles.c.tenant == tenant, bundles.c.hash == digest)
    # A damaged version has the same content as no other.
    wanted = wanted.order_by(bundles.c.version)
    return listed(connection, wanted, bundles.c.version, _versions).found


def _find(connection: Connection, tenant: str, number: int) -> Version | None:
    wanted = bundles.select().where(bundles.c.tenant == tenant, bundles.c.version == number)
    return one(connection, wanted, _versions, f"version {number} of the policies")


def _last(connection: Connection, tenant: str) -> Activation | None:
    wanted = activations.select().where(activations.c.tenant == tenant)
    row = connection.execute(wanted.order_by(activations.c.number.desc()).limit(1)).first()
    return None if row is None else Activation(row.number, row.version, row.at, row.by)


def _last_from_files(connection: Connection, tenant: str) -> Version | None:
    wanted = bundles.select().where(bundles.c.tenant == tenant, bundles.c.origin == "file")
    wanted = wanted.order_by(bundles.c.version.desc())
    return one(connection, wanted, _versions, "the newest version of the policies from files")


def _add(connection: Connection, who: PolicyAuthor, content: Content, origin: Origin) -> Version:
    newest = sa.select(sa.func.max(bundles.c.version)).where(bundles.c.tenant == who.tenant)
    number = (connection.scalar(newest) or 0) + 1
    connection.execute(
        bundles.insert(),
        {
            "tenant": who.tenant,
            "version": number,
            "hash": content.hash,
            "origin": origin,
            "sources": [[each.name, each.text] for each in content.sources],
            "facts": dict(content.facts),
            "put_at": who.at,
            "put_by": who.by,
        },
    )
    return Version(number, content, origin, who.at, who.by)


def _activate(
    connection: Connection, who: PolicyAuthor, last: Activation | None, version: Version
) -> Activation:
    number = 1 if last is None else last.number + 1
    done = Activation(number, version.number, who.at, who.by)
    connection.execute(activations.insert(), {"tenant": who.tenant, **vars(done)})
    return done


def _versions(rows: Rows) -> Iterable[Version]:
    return map(_read, rows)


def _read(row: sa.Row[tuple[Any, ...]]) -> Version:
    sources = tuple(Source(*texts([name, text])) for name, text in row.sources)
    facts = dict(row.facts)
    texts([*facts.values()])
    content = Content(row.hash, sources, facts)
    return Version(row.version, content, one_of(row.origin, ORIGINS), row.put_at, row.put_by)
