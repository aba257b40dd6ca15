"""Revocations of tokens, agents, apps, envelopes and issuer keys, which cannot be undone.

Each revocation is a row of the tenant's log `revocations`, which services follow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.chain import ChainedRow, Head
from nomos.audit.record import Record
from nomos.errors import NomosError
from nomos.server.domain.accounts import EVERY_ROLE, Role
from nomos.server.storage import api_keys, apps, issuer_keys, logs, records, tables
from nomos.server.storage.damaged_rows import Damaged, readable, texts
from nomos.server.storage.database import Database
from nomos.server.storage.registered_apps import find_to_end
from nomos.server.storage.tables import envelopes, revocations

Kind = Literal["cid", "agent", "app", "envelope", "issuer"]

MAX_SEARCHED: Final = 20_000
"""The number of decisions and links that are searched for an agent, newest first."""

_AMONG = sa.select(revocations.c.id).where(
    revocations.c.id.in_(sa.bindparam("ids", expanding=True))
)


def revoked_of(connection: Connection, ids: Collection[str]) -> frozenset[str]:
    """Return those of `ids` that are revoked."""
    return frozenset(connection.scalars(_AMONG, {"ids": list(ids)}))


def kind_of(ident: str) -> Kind:
    """Return the kind of an identifier; a key counts as an agent's."""
    if ident.startswith("did:"):
        return "agent"
    return "app" if ident.startswith("app_") else "envelope" if ident.startswith("env_") else "cid"


def add(
    connection: Connection, tenant: str, ids: Collection[str], at: int, kind: Kind | None = None
) -> tuple[ChainedRow, ...]:
    """Revoke `ids`, and return the new rows; those revoked before are unchanged."""
    known = revoked_of(connection, ids)
    return tuple(
        _add(connection, tenant, ident, at, kind or kind_of(ident))
        for ident in sorted(set(ids) - known)
    )


def _add(connection: Connection, tenant: str, ident: str, at: int, kind: Kind) -> ChainedRow:
    content = {"id": ident, "kind": kind, "at": at}
    placed = logs.append(connection, tenant, "revocations", content)
    connection.execute(revocations.insert(), {"tenant": tenant, **content, **vars(placed)})
    return placed


def after(connection: Connection, tenant: str, seq: int, limit: int) -> tuple[ChainedRow, ...]:
    """Return the log's rows after `seq`, in order. Raises Damaged: a follower must miss none."""
    raw = (sa.cast(column, sa.LargeBinary) for column in (revocations.c.hash, revocations.c.text))
    wanted = (
        sa.select(revocations.c.seq, *raw)
        .where(revocations.c.tenant == tenant, revocations.c.seq > seq)
        .order_by(revocations.c.seq)
        .limit(limit)
    )
    return tuple(_link(*row) for row in connection.execute(wanted))


def _link(seq: int, hash_: bytes, text: bytes) -> ChainedRow:
    if hashlib.sha256(text).hexdigest().encode() != hash_:
        raise Damaged(f"row {seq} of the log of revocations")
    return ChainedRow(seq, hash_.decode(), text.decode())


# Revoking, and the log that services follow


@dataclass(frozen=True)
class RevocationRequest:
    """A requested revocation that is permitted; `at` in milliseconds."""

    tenant: str
    id: str
    kind: Kind
    at: int


@dataclass(frozen=True)
class RevocationRow:
    """A revocation as a row of the tenant's log. `already`: it existed before."""

    id: str
    kind: Kind
    seq: int
    at: int
    already: bool = False


@dataclass(frozen=True)
class RevokedName:
    """The kind of an identifier, and the app that it is or belongs to, if the server knows.

    `roles` are those that an approval needs. `service`: it is the DID of a registered service.
    """

    kind: Kind
    app: str | None = None
    role: Role | None = None
    owner: str | None = None
    covers: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    service: bool = False


class ServiceInUse(NomosError):
    """A registered service cannot be revoked."""

    def __init__(self, did: str) -> None:
        super().__init__(
            f"{did} is a registered service, the audience of grants. Remove it first: "
            "nomos services remove NAME"
        )


@dataclass(frozen=True)
class Page:
    """Some rows of the log, in order, and where the log ends."""

    links: tuple[ChainedRow, ...]
    head: Head


class RevocationLog:
    """The logs of revocations: revoking, and reading from a given row."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revoke(
        self, wanted: RevocationRequest, receipt: Callable[[RevocationRow], Record]
    ) -> RevocationRow:
        """Revoke, and store the `receipt` of it in the same transaction.

        An app is disabled as well. If `wanted` is revoked already, no other receipt is stored.
        Raises ActiveKeyError, ServiceInUse, LastOperator.
        """

        def work(connection: Connection) -> RevocationRow:
            earlier = _find(connection, wanted)
            if earlier is not None:
                return earlier
            if wanted.kind == "app":
                api_keys.check_operator_left(connection, wanted.tenant, wanted.id)
            if _serves(connection, wanted.id):
                raise ServiceInUse(wanted.id)
            placed = _add(connection, wanted.tenant, wanted.id, wanted.at, wanted.kind)
            if wanted.kind == "app":
                apps.disable(connection, wanted.tenant, wanted.id, wanted.at // 1000)
            if wanted.kind == "issuer":
                issuer_keys.revoke(connection, wanted.tenant, wanted.id, wanted.at // 1000)
            done = RevocationRow(wanted.id, wanted.kind, placed.seq, wanted.at)
            records.add(connection, receipt(done))
            return done

        return await self._database.write(work)

    async def page(self, tenant: str, seq: int, limit: int) -> Page:
        """Return the rows that follow number `seq`, at most `limit`, and the log's end."""

        def work(connection: Connection) -> Page:
            head = logs.head(connection, tenant, "revocations")
            return Page(after(connection, tenant, seq, limit) if seq < head.seq else (), head)

        return await self._database.read(work)

    async def kind(self, tenant: str, ident: str) -> Kind | None:
        """Return the kind of `ident`; None for an app or envelope that the tenant does not have.

        Any key and any delegation may exist: agents make both without a request to the server.
        """

        def work(connection: Connection) -> Kind | None:
            kind = kind_of(ident)
            keys = tables.issuer_keys
            if kind == "agent" and _has(connection, keys, keys.c.did, tenant, ident):
                return "issuer"
            table = {"app": tables.apps, "envelope": envelopes}.get(kind)
            if table is not None and not _has(connection, table, table.c.id, tenant, ident):
                return None
            return kind

        return await self._database.read(work)

    async def named(self, tenant: str, ident: str, *, app: str | None = None) -> RevokedName | None:
        """Return the kind of `ident`, and the app that it is or belongs to; None if there is none.

        `app` is the app that a delegation is known to belong to by its chain.
        """
        kind = "cid" if app is not None else await self.kind(tenant, ident)

        def work(connection: Connection) -> RevokedName | None:
            if kind is None:
                return None
            service = kind == "agent" and _serves(connection, ident)
            owner_app = app or _app_of(connection, tenant, ident, kind)
            roles = _roles(connection, ident) if kind == "envelope" else ()
            found = None if owner_app is None else find_to_end(connection, tenant, owner_app)
            if found is None:
                return RevokedName(kind, roles=roles, service=service)
            owner = found.app.owner
            return RevokedName(kind, owner_app, found.role, owner, found.covers, roles, service)

        return await self._database.read(work)

    async def known(self, tenant: str, ident: str) -> bool:
        """Return whether the audit log has this delegation or agent; it lacks mistyped ones."""

        def work(connection: Connection) -> bool:
            match kind_of(ident):
                case "cid":
                    return bool(records.apps_of_cid(connection, tenant, ident))
                case "agent":
                    return _asked(connection, tenant, ident)
            return True

        return await self._database.read(work)

    async def belongs(self, tenant: str, app: str, ident: str) -> bool:
        """Return whether `ident` is a delegation or an envelope of this app.

        An agent belongs to no app here: any app can ask for a DID, without proof.
        """

        def work(connection: Connection) -> bool:
            match kind_of(ident):
                case "cid":
                    return records.apps_of_cid(connection, tenant, ident)[:1] == (app,)
                case "envelope":
                    asked = sa.select(envelopes.c.app).where(
                        envelopes.c.id == ident, envelopes.c.tenant == tenant
                    )
                    return connection.scalar(asked) == app
            return False

        return await self._database.read(work)


def _app_of(connection: Connection, tenant: str, ident: str, kind: Kind) -> str | None:
    """Return the app that this is or belongs to, as far as the server knows."""
    known = tables.agents.c
    match kind:
        case "app":
            return ident
        case "cid":
            return next(iter(records.apps_of_cid(connection, tenant, ident)), None)
        case "envelope":
            wanted = sa.select(envelopes.c.app).where(envelopes.c.id == ident)
        case "agent":
            wanted = sa.select(known.app).where(known.tenant == tenant, known.did == ident)
        case _:
            return None
    return readable(lambda: connection.scalar(wanted), None)


def _roles(connection: Connection, envelope: str) -> tuple[str, ...]:
    wanted = sa.select(envelopes.c.roles).where(envelopes.c.id == envelope)
    return readable(lambda: texts(connection.scalar(wanted)), (EVERY_ROLE,))


def _serves(connection: Connection, did: str) -> bool:
    return bool(connection.scalar(sa.select(sa.exists().where(tables.services.c.did == did))))


def _find(connection: Connection, wanted: RevocationRequest) -> RevocationRow | None:
    found = connection.execute(
        sa.select(revocations.c.seq, revocations.c.at, revocations.c.kind).where(
            revocations.c.id == wanted.id, revocations.c.tenant == wanted.tenant
        )
    ).first()
    if found is None:
        return None
    return RevocationRow(wanted.id, found.kind, found.seq, found.at, already=True)


def _has(
    connection: Connection, table: sa.Table, column: sa.Column[str], tenant: str, ident: str
) -> bool:
    named = sa.exists().where(column == ident, table.c.tenant == tenant)
    return bool(connection.scalar(sa.select(named)))


def _asked(connection: Connection, tenant: str, did: str) -> bool:
    """Return whether a recent decision or delegation is about this agent."""
    kinds = ("decision", "delegation")
    recent = (
        sa.select(tables.records.c.text)
        .where(tables.records.c.tenant == tenant, tables.records.c.kind.in_(kinds))
        .order_by(tables.records.c.seq.desc())
        .limit(MAX_SEARCHED)
        .subquery()
    )
    text = sa.cast(recent.c.text, sa.LargeBinary)
    named = sa.select(text).where(recent.c.text.contains(f'"{did}"', autoescape=True))
    return any(_agent(each) in (did, None) for each in connection.scalars(named))


def _agent(text: bytes) -> object:
    """Return the agent of a record; None if it is damaged, so that any agent in its text counts."""
    try:
        return json.loads(text).get("agent")
    except ValueError:
        return None
