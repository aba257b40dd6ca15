"""Management of operators on the server's machine, with write access to its data folder.

This is the recovery when no operator who covers every role is left, and the way to confirm an
account for which there is no operator outside of its line. The server may be running: it reads
accounts afresh for each request. Each change is recorded, with `server` as its actor.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nomos.audit.record import Record
from nomos.errors import ConfigurationError
from nomos.models import Secret
from nomos.server.control import credentials
from nomos.server.control.apps import MAX_APPS
from nomos.server.data_folder.layout import check_owned
from nomos.server.domain import account_lines
from nomos.server.domain.accounts import EVERY_ROLE, SERVER
from nomos.server.storage.engine import FILE
from nomos.server.storage.migrate import check_newest
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.registered_apps import Registered
from nomos.server.storage.store import Store
from nomos.server.storage.tenants import DEFAULT

log = logging.getLogger("nomos.server")


@dataclass(frozen=True)
class OperatorEntry:
    """An operator's account, the accounts that it counts as (`account_lines`), and `left`.

    `left`: for a disabled account, the active accounts that its user may still be able to use.
    """

    registered: Registered
    counts_as: tuple[str, ...]
    left: tuple[Registered, ...] = ()


async def list_operators(data: Path) -> list[OperatorEntry]:
    """Return the operators' accounts, the oldest first."""
    async with _opened(data) as store:
        every = await store.apps.all(DEFAULT)
        for ident in every.damaged:
            log.error("app %s is damaged and left out; restore the folder from a backup", ident)
        found = [each for each in every.found if each.role == "operator"]
        accounts = await store.apps.accounts(*(each.app.id for each in found))
        return [
            OperatorEntry(
                each,
                account_lines.persons(accounts, each.app.id),
                () if each.disabled_at is None else await store.apps.left_by(DEFAULT, each.app.id),
            )
            for each in found
        ]


async def confirm_operator(data: Path, ident: str) -> Registered:
    """Confirm that an account belongs to another person than the one who registered it. Idempotent.

    Raises ConfigurationError for an account that cannot be confirmed, KeyShown while its maker has
    its API key.
    """
    async with _opened(data) as store:
        found = await store.apps.find(DEFAULT, ident)
        if found is None or found.role != "operator":
            raise ConfigurationError(
                f"there is no operator {ident!a}: see nomos operators list", setting="ID"
            )
        if found.disabled_at is not None or found.app.owner is None:
            why = "is disabled" if found.disabled_at is not None else "was made by the server"
            message = f"{ident} {why}, so there is nothing to confirm"
            raise ConfigurationError(message, setting="ID")
        await store.apps.confirm(DEFAULT, ident, SERVER, _receipt("confirm", found))
        after = await store.apps.find(DEFAULT, ident)
        assert after is not None, "apps are never removed"
        return after


async def create_operator(
    data: Path, name: str, covers: Sequence[str] = (EVERY_ROLE,)
) -> tuple[Registered, Secret]:
    """Register an operator that has no owner; return it and its API key, which is shown once."""
    async with _opened(data) as store:
        covered = tuple(sorted(set(covers)))
        issued = credentials.issue(name, "operator", DEFAULT, time.time(), covers=covered)
        made = Registered(issued.app, "operator", covered)
        # Above the limit for requests: this is the recovery.
        await store.apps.create(issued.app, issued.key, 2 * MAX_APPS, _receipt("create", made))
        return made, issued.text


@asynccontextmanager
async def _opened(data: Path) -> AsyncIterator[Store]:
    if not (data / FILE).is_file():
        raise ConfigurationError(
            f"{data} is not a server's data folder: it has no {FILE}. Name the folder that the "
            "server was started with",
            setting="--data",
        )
    check_owned(data)
    store = Store(data)
    try:
        await store.database.read(check_newest)
        yield store
    finally:
        await store.close()


def _receipt(act: str, about: Registered) -> Record:
    at = int(time.time() * 1000)
    detail: dict[str, Any] = {"name": about.app.name, "role": about.role}
    return Record(
        id=new_receipt_id(at),
        tenant=DEFAULT,
        kind="app",
        at=at,
        app=about.app.id,
        actor=SERVER,
        act=act,
        detail=detail | {"covers": list(about.covers)},
    )
