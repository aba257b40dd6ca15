"""Apps and their API keys. Of a key only the hash of its secret is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.server.storage.tables import api_keys, apps

Role = Literal["agent", "operator", "auditor"]

EVERY_ROLE: Final = "*"


@dataclass(frozen=True)
class App:
    """Something that acts for a tenant and has API keys.

    `owner` is the operator's app that registered it, None for those the server itself makes.
    """

    id: str
    tenant: str
    name: str
    created_at: int
    owner: str | None = None


@dataclass(frozen=True)
class ApiKey:
    """One API key, with what must be known of its app to accept it.

    `covers` are the roles that an operator may answer for; `EVERY_ROLE` covers all. `shown_to`
    is the operator who made the key for somebody else, and could have kept it.
    """

    app: str
    tenant: str
    role: Role
    secret_hash: str = field(repr=False)
    disabled: bool = False
    covers: tuple[str, ...] = ()
    shown_to: str | None = None


_KEYS_OF_APP = (
    sa.select(
        api_keys.c.app,
        api_keys.c.tenant,
        api_keys.c.role,
        api_keys.c.covers,
        api_keys.c.shown_to,
        api_keys.c.secret_hash,
        apps.c.disabled_at,
    )
    .join(apps, apps.c.id == api_keys.c.app)
    .where(apps.c.id == sa.bindparam("app"))
)


def keys_of(connection: Connection, app: str) -> tuple[ApiKey, ...]:
    """All API keys of `app`; none for an app that does not exist."""
    return tuple(
        ApiKey(
            app=row.app,
            tenant=row.tenant,
            role=row.role,
            secret_hash=row.secret_hash,
            disabled=row.disabled_at is not None,
            covers=tuple(row.covers),
            shown_to=row.shown_to,
        )
        for row in connection.execute(_KEYS_OF_APP, {"app": app})
    )


def add(connection: Connection, app: App) -> None:
    """Register an app."""
    connection.execute(
        apps.insert().values(
            id=app.id,
            tenant=app.tenant,
            name=app.name,
            owner=app.owner,
            created_at=app.created_at,
        )
    )


def add_key(connection: Connection, ident: str, key: ApiKey, now: int) -> None:
    """Register an API key of an app that exists."""
    connection.execute(
        api_keys.insert().values(
            id=ident,
            tenant=key.tenant,
            app=key.app,
            role=key.role,
            covers=list(key.covers),
            shown_to=key.shown_to,
            secret_hash=key.secret_hash,
            created_at=now,
        )
    )


def disable(connection: Connection, tenant: str, app: str, now: int) -> bool:
    """Refuse all keys of `app` from now on. False if the tenant has no such app."""
    result = connection.execute(
        apps.update()
        .where(apps.c.id == app, apps.c.tenant == tenant)
        .values(disabled_at=sa.func.coalesce(apps.c.disabled_at, now))
    )
    return result.rowcount == 1
