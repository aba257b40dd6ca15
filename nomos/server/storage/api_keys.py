"""API keys of apps, and which operators are active. Of a key only its secret's hash is stored."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.errors import NomosError
from nomos.server.domain.accounts import EVERY_ROLE, ROLES, ApiKey
from nomos.server.storage.damaged_rows import check, listed, naming, one_of, texts
from nomos.server.storage.identifiers import new_ident
from nomos.server.storage.tables import api_keys, apps


class LastOperator(NomosError):
    """The only operator left who covers every role can be neither disabled nor revoked."""

    def __init__(self, app: str) -> None:
        super().__init__(
            f"{app} is the last operator who covers every role ({EVERY_ROLE}), and no other "
            "could be made. Register one first: nomos apps create NAME --role operator "
            "--covers '*', or on the server's machine nomos operators create NAME"
        )


class KeyEnded(NomosError):
    """The API key of a request was replaced, or its app disabled, since the request began."""

    def __init__(self) -> None:
        super().__init__("the API key was replaced, or its app disabled, meanwhile")


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
    """Return all API keys of `app`; none for an app that does not exist."""
    with naming(f"the API key of {app}"):
        rows = connection.execute(_KEYS_OF_APP, {"app": app}).all()
        return tuple(_key(row) for row in rows)


def check_held(connection: Connection, key: ApiKey | None) -> None:
    """Raise KeyEnded unless this is still an API key of its app, and that is not disabled.

    What an operator registers or confirms outlasts their own account, so this is checked in the
    same transaction. None is a command on the server's own machine.
    """
    if key is None:
        return
    held = (each for each in keys_of(connection, key.app) if not each.disabled)
    if key.secret_hash not in [each.secret_hash for each in held]:
        raise KeyEnded


def _key(row: Any) -> ApiKey:
    check(row, _KEYS_OF_APP)
    return ApiKey(
        app=row.app,
        tenant=row.tenant,
        role=one_of(row.role, ROLES),
        secret_hash=row.secret_hash,
        disabled=row.disabled_at is not None,
        covers=texts(row.covers),
        shown_to=row.shown_to,
    )


def add_key(connection: Connection, key: ApiKey, now: int) -> None:
    """Register an API key of an app that exists."""
    connection.execute(
        api_keys.insert().values(
            id=new_ident("key", now * 1000),
            tenant=key.tenant,
            app=key.app,
            role=key.role,
            covers=list(key.covers),
            shown_to=key.shown_to,
            secret_hash=key.secret_hash,
            created_at=now,
        )
    )


def active_operators(connection: Connection, tenant: str) -> frozenset[str]:
    """Return the active operators of every role, who make others; a damaged row does not count."""
    wanted = (
        sa.select(apps.c.id, api_keys.c.covers)
        .join(api_keys, api_keys.c.app == apps.c.id)
        .where(apps.c.tenant == tenant, apps.c.disabled_at.is_(None), api_keys.c.role == "operator")
    )
    rows = listed(
        connection, wanted, apps.c.id, lambda rows: [(row.id, texts(row.covers)) for row in rows]
    )
    return frozenset(ident for ident, covers in rows.found if EVERY_ROLE in covers)


def check_operator_left(connection: Connection, tenant: str, app: str) -> None:
    """Raise LastOperator if `app` is the only operator left who covers every role."""
    if active_operators(connection, tenant) == {app}:
        raise LastOperator(app)
