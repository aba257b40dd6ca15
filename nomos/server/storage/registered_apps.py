"""Apps with the role of their API key, and the lines of accounts above them, read from tables."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.domain import account_lines
from nomos.server.domain.account_lines import UNKNOWN, Account
from nomos.server.domain.accounts import EVERY_ROLE, ROLES, App, Role
from nomos.server.storage.damaged_rows import (
    Damaged,
    Listed,
    listed,
    one,
    one_of,
    readable,
    texts,
)
from nomos.server.storage.tables import api_keys, apps

T = TypeVar("T")


@dataclass(frozen=True)
class Registered:
    """An app with the role that its API key has; `disabled_at` None while it may act."""

    app: App
    role: Role
    covers: tuple[str, ...] = ()
    disabled_at: int | None = None


def accounts(connection: Connection, idents: Collection[str]) -> dict[str, Account]:
    """Return the apps of these ids and all accounts in the lines above them.

    The maker of an app whose row is damaged is unknown, as is that of an app whose owner is no app.
    """
    found: dict[str, Account] = {}
    wanted = set(idents)
    while wanted:
        values = {"ids": sorted(wanted)}
        rows = listed(connection, _ACCOUNTS, apps.c.id, list, values)
        for row in rows.found:
            found[row.id] = Account(row.owner, row.created_at, row.confirmed_at)
        found |= {ident: Account(UNKNOWN) for ident in rows.damaged}
        wanted = {row.owner for row in rows.found if row.owner is not None} - found.keys()
    return found


_ACCOUNTS: Final = sa.select(apps.c.id, apps.c.owner, apps.c.created_at, apps.c.confirmed_at).where(
    apps.c.id.in_(sa.bindparam("ids", expanding=True))
)


def every(connection: Connection, tenant: str) -> Listed[Registered]:
    """The tenant's apps, the oldest first."""
    wanted = _SELECT.where(apps.c.tenant == tenant).order_by(apps.c.created_at, apps.c.id)
    return listed(connection, wanted, apps.c.id, lambda rows: map(_read, rows))


def left_by(connection: Connection, tenant: str, ident: str) -> tuple[Registered, ...]:
    """The active apps that the user of `ident` may be able to use; see `Apps.left_by`."""
    # A key stays valid while the name or the owner of its app is damaged.
    all_ = every(connection, tenant)
    damaged = (find_to_end(connection, tenant, each) for each in all_.damaged)
    found = (*all_.found, *(each for each in damaged if each is not None))
    lines = accounts(connection, [each.app.id for each in found])
    seen = set(connection.scalars(_SEEN_BY, {"operator": ident}))
    return tuple(
        each
        for each in found
        if each.disabled_at is None
        and each.app.id != ident
        and (
            each.app.id in seen
            or ident in account_lines.behind(lines, each.app.id)
            or not account_lines.is_known(lines, each.app.id)
        )
    )


_SEEN_BY = sa.select(api_keys.c.app).where(api_keys.c.shown_to == sa.bindparam("operator"))


def find(connection: Connection, tenant: str, ident: str) -> Registered | None:
    """One app of the tenant."""
    wanted = _SELECT.where(apps.c.tenant == tenant, apps.c.id == ident)
    return one(connection, wanted, lambda rows: map(_read, rows), f"app {ident}")


def find_to_end(connection: Connection, tenant: str, ident: str) -> Registered | None:
    """Return one app of the tenant, for disabling it.

    Roles that cannot be read count as those of an operator who covers every role: so the fewest
    may disable it. Other columns that cannot be read are left out.
    """
    try:
        return find(connection, tenant, ident)
    except Damaged:
        pass

    def part(column: sa.Column[Any], otherwise: T, read: Callable[[Any], T] = _unchanged) -> T:
        wanted = sa.select(column).select_from(_JOINED)
        query = wanted.where(apps.c.tenant == tenant, apps.c.id == ident)

        def found() -> T:
            value = one(connection, query, lambda rows: [read(row[0]) for row in rows], ident)
            return otherwise if value is None else value

        return readable(found, otherwise)

    app = App(
        ident,
        tenant,
        name=part(apps.c.name, "(damaged)"),
        created_at=part(apps.c.created_at, 0),
        owner=part(apps.c.owner, None),
        confirmed_at=part(apps.c.confirmed_at, None),
        confirmed_by=part(apps.c.confirmed_by, None),
    )
    role: Role = part(api_keys.c.role, "operator", lambda role: one_of(role, ROLES))
    unknown: tuple[str, ...] = (EVERY_ROLE,)
    covers = part(api_keys.c.covers, unknown, texts)
    return Registered(app, role, covers, part(apps.c.disabled_at, None))


def _unchanged(value: Any) -> Any:
    return value


_JOINED = apps.join(api_keys, api_keys.c.app == apps.c.id)
_SELECT = sa.select(apps, api_keys.c.role, api_keys.c.covers).join(
    api_keys, api_keys.c.app == apps.c.id
)


def _read(row: sa.Row[tuple[object, ...]]) -> Registered:
    confirmed = (row.confirmed_at, row.confirmed_by)
    app = App(row.id, row.tenant, row.name, row.created_at, row.owner, *confirmed)
    return Registered(app, one_of(row.role, ROLES), texts(row.covers), row.disabled_at)
