"""Apps of every tenant, as operators register, change and disable them; which app an agent is of.

Each change and its record are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.errors import NomosError
from nomos.server.domain.account_lines import Accounts
from nomos.server.domain.accounts import ApiKey, App
from nomos.server.storage import records, registered_apps
from nomos.server.storage.api_keys import add_key, check_held, check_operator_left
from nomos.server.storage.damaged_rows import Listed
from nomos.server.storage.database import Database
from nomos.server.storage.registered_apps import Registered
from nomos.server.storage.tables import agents, api_keys, apps, login_links, sessions


class KeyShown(NomosError):
    """An account cannot be confirmed while another account's user has its API key."""

    def __init__(self, app: str, maker: str) -> None:
        super().__init__(
            f"{app} has an API key that was shown to {maker}, who could still use it. First the "
            f"holder of that key replaces it: nomos apps rotate {app}"
        )


class Apps:
    """The apps of every tenant."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def all(self, tenant: str) -> Listed[Registered]:
        """Return the tenant's apps, the oldest first."""
        return await self._database.read(registered_apps.every, tenant)

    async def find(self, tenant: str, ident: str) -> Registered | None:
        """Return one app of the tenant."""
        return await self._database.read(registered_apps.find, tenant, ident)

    async def find_to_end(self, tenant: str, ident: str) -> Registered | None:
        """`find`, for disabling an app: damaged columns do not prevent that."""
        return await self._database.read(registered_apps.find_to_end, tenant, ident)

    async def create(
        self, app: App, key: ApiKey, most: int, receipt: Record, *, held: ApiKey | None = None
    ) -> bool:
        """Register an app with its first key; False when the tenant has `most` already.

        `held` is the API key of the operator who does it. Raises KeyEnded if it ended meanwhile.
        """

        def work(connection: Connection) -> bool:
            check_held(connection, held)
            query = sa.select(sa.func.count()).where(apps.c.tenant == app.tenant)
            if (connection.scalar(query.select_from(apps)) or 0) >= most:
                return False
            add(connection, app)
            add_key(connection, key, app.created_at)
            records.add(connection, receipt)
            return True

        return await self._database.write(work)

    async def holds(self, key: ApiKey) -> bool:
        """Return whether the key's app has this key, and no other."""
        query = sa.select(api_keys.c.secret_hash).where(
            api_keys.c.tenant == key.tenant, api_keys.c.app == key.app
        )
        held = await self._database.read(lambda connection: connection.scalars(query).all())
        return list(held) == [key.secret_hash]

    async def disable(self, tenant: str, ident: str, receipt: Record) -> bool:
        """Disable the app, so its keys are refused; False if it is already. Raises LastOperator."""
        now = int(self._clock())

        def work(connection: Connection) -> bool:
            found = registered_apps.find_to_end(connection, tenant, ident)
            if found is None or found.disabled_at is not None:
                return False
            check_operator_left(connection, tenant, ident)
            disable(connection, tenant, ident, now)
            records.add(connection, receipt)
            return True

        return await self._database.write(work)

    async def rotate(
        self, key: ApiKey, receipt: Record, *, by: str, held: ApiKey | None = None
    ) -> bool:
        """Replace all keys of the app by a new one; False if it is disabled, or `by` may not.

        Only a confirmed account itself can rotate its key. Sessions and links of the app end. An
        app without an owner, not an operator's, belongs to `by` now. `held` is as for `create`.
        """
        now = int(self._clock())

        def work(connection: Connection) -> bool:
            check_held(connection, held)
            found = registered_apps.find(connection, key.tenant, key.app)
            if found is None or found.disabled_at is not None:
                return False
            if by != key.app and found.app.confirmed_at is not None:
                return False
            if key.role != "operator" and found.app.owner not in (None, by):
                return False  # another operator has taken it since `by` was permitted to
            connection.execute(api_keys.delete().where(api_keys.c.app == key.app))
            connection.execute(sessions.delete().where(sessions.c.operator == key.app))
            connection.execute(login_links.delete().where(login_links.c.operator == key.app))
            if key.role != "operator":
                connection.execute(
                    apps.update()
                    .where(apps.c.id == key.app, apps.c.owner.is_(None))
                    .values(owner=by)
                )
            add_key(connection, key, now)
            records.add(connection, receipt)
            return True

        return await self._database.write(work)

    async def confirm(
        self, tenant: str, ident: str, by: str, receipt: Record, *, held: ApiKey | None = None
    ) -> bool:
        """Note, on behalf of `by`, that an operator's account is another person's than its maker's.

        False if it was confirmed before, or is disabled. Raises KeyShown while its key was shown
        to its maker.
        """
        now = int(self._clock())

        def work(connection: Connection) -> bool:
            check_held(connection, held)
            seen_by = sa.select(api_keys.c.shown_to).where(
                api_keys.c.app == ident, api_keys.c.shown_to.is_not(None)
            )
            maker = connection.scalar(seen_by)
            if maker is not None:
                raise KeyShown(ident, maker)
            done = connection.execute(
                apps.update()
                .where(
                    apps.c.id == ident,
                    apps.c.tenant == tenant,
                    apps.c.disabled_at.is_(None),
                    apps.c.confirmed_at.is_(None),
                )
                .values(confirmed_at=now, confirmed_by=by)
            )
            if done.rowcount != 1:
                return False
            records.add(connection, receipt)
            return True

        return await self._database.write(work)

    async def accounts(self, *idents: str) -> Accounts:
        """These apps and all accounts in the lines above them."""
        return await self._database.read(registered_apps.accounts, idents)

    async def left_by(self, tenant: str, ident: str) -> tuple[Registered, ...]:
        """Return the active apps that the user of `ident` may be able to use, the oldest first.

        `ident` made them, directly or through others, and they were not confirmed; or it saw their
        keys. Apps of unknown makers are included; those whose row is damaged come last.
        """
        return await self._database.read(registered_apps.left_by, tenant, ident)

    async def agent_app(self, tenant: str, did: str) -> str | None:
        """Return the app that first asked for this agent."""
        wanted = sa.select(agents.c.app).where(agents.c.tenant == tenant, agents.c.did == did)
        return await self._database.read(lambda connection: connection.scalar(wanted))

    async def claim_agent(self, tenant: str, did: str, app: str) -> str:
        """Return the app that the agent belongs to; it becomes `app` if the agent had none."""
        now = int(self._clock() * 1000)

        def work(connection: Connection) -> str:
            wanted = sa.select(agents.c.app).where(agents.c.tenant == tenant, agents.c.did == did)
            known = connection.scalar(wanted)
            if known is not None:
                return str(known)
            connection.execute(agents.insert().values(tenant=tenant, did=did, app=app, at=now))
            return app

        return await self._database.write(work)


def add(connection: Connection, app: App) -> None:
    """Register an app."""
    connection.execute(apps.insert(), dict(vars(app)))


def disable(connection: Connection, tenant: str, app: str, now: int) -> bool:
    """Disable `app`, so that its keys are refused. False if the tenant has no such app."""
    result = connection.execute(
        apps.update()
        .where(apps.c.id == app, apps.c.tenant == tenant)
        .values(disabled_at=sa.func.coalesce(apps.c.disabled_at, now))
    )
    return result.rowcount == 1


def take_agents(connection: Connection, app: App) -> None:
    """Give `app` the agents of earlier apps with its name that the server made."""
    others = sa.select(apps.c.id).where(
        apps.c.tenant == app.tenant, apps.c.owner.is_(None), apps.c.name == app.name
    )
    connection.execute(agents.update().where(agents.c.app.in_(others)).values(app=app.id))
