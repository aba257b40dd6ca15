"""A clock that jumped ahead deletes nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nomos.audit.record import Record
from nomos.server.domain.authorization import StoredAnswer
from nomos.server.domain.outdated_grants import ServiceGrant
from nomos.server.storage import idempotency, tables
from nomos.server.storage.outbox import add
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.service_grants import PRUNE_EVERY
from nomos.server.storage.sessions import Issue
from nomos.server.storage.steady_clock import SLACK_SECONDS, STEADY_SECONDS, Steady
from nomos.server.storage.store import Store

if TYPE_CHECKING:
    from server.storage.conftest import Clock

pytestmark = pytest.mark.anyio

DAY: Final = 24 * 3600
DAYS: Final = 30 * DAY
KEPT: Final = (tables.idempotency, tables.sessions, tables.login_links, tables.service_grants)


def test_a_clock_is_steady_an_hour_after_its_last_jump(clock: Clock) -> None:
    steady = Steady(clock, clock.awake)
    assert steady.now() is None
    clock.now += STEADY_SECONDS - 1
    assert steady.now() is None
    clock.now += 1
    assert steady.now() == clock.now
    clock.jump(SLACK_SECONDS)
    assert steady.now() == clock.now
    for seconds in (SLACK_SECONDS, DAYS, -DAYS):
        clock.jump(seconds)
        assert steady.now() is None
        clock.now += STEADY_SECONDS - 1
        assert steady.now() is None
        clock.now += 1
        assert steady.now() == clock.now


def test_many_small_jumps_count_as_one(clock: Clock) -> None:
    steady = Steady(clock, clock.awake)
    clock.now += STEADY_SECONDS
    found = []
    for _ in range(5):
        clock.jump(SLACK_SECONDS / 3)
        found.append(steady.now() is None)
    assert any(found)


async def writes(store: Store, clock: Clock, count: int = PRUNE_EVERY) -> None:
    """Enough of everything to have what is old deleted."""
    clock.now += 1
    now = int(clock.now)
    for number in range(count):
        name = f"{now} {number}"
        record = Record(new_receipt_id(now * 1000), "default", "decision", now * 1000, app="app_1")
        stored = StoredAnswer("default", "app_1", name, "h", record.id, "did:key:a", {}, now)
        await store.record_answer(record, stored)
        values = ("default", name, "app_1", "did:key:a", "did:key:s", record.id, now + 60, "{}")
        await store.service_grants.add(ServiceGrant(*values))
    link = Issue(f"link {now}", "default", "app_1", now, now + 60)
    await store.sessions.add_link(link)
    receipt = Record(new_receipt_id(now * 1000), "default", "session", now * 1000)
    session = Issue(f"session {now}", "default", "app_1", now, now + 60)
    await store.sessions.begin(session, receipt)
    await store.database.write(partial(_settled, now=now))
    await store.outbox.prune()


def _settled(connection: Connection, now: int) -> None:
    ident = add(connection, "default", "approval.decided", {}, now * 1000)
    table = tables.outbox
    connection.execute(table.update().where(table.c.id == ident).values(delivered_at=now))


async def oldest(store: Store) -> dict[str, int]:
    """When the oldest row of each table was made."""

    def work(connection: Connection) -> dict[str, int]:
        found = {}
        for table in (*KEPT, tables.outbox):
            column = table.c.get("created_at", table.c.get("expires_at"))
            assert column is not None
            found[table.name] = connection.scalar(sa.select(sa.func.min(column))) or 0
        return found

    return await store.database.read(work)


async def test_a_jump_deletes_nothing_and_the_hours_after_it_do(store: Store, clock: Clock) -> None:
    clock.now += STEADY_SECONDS
    await writes(store, clock)
    first, began = await oldest(store), int(clock.now)
    assert len(await store.service_grants.live("default")) == PRUNE_EVERY
    clock.jump(DAYS)
    await writes(store, clock)
    assert await oldest(store) == first
    clock.jump(-DAYS)
    assert (await store.prior("app_1", f"{began} 0", ()))[0] is not None
    assert len(await store.service_grants.live("default")) == 2 * PRUNE_EVERY
    await writes(store, clock)
    assert await oldest(store) == first
    clock.now += DAYS  # which really went by
    await writes(store, clock, 2 * PRUNE_EVERY)
    after = await oldest(store)
    assert [name for name in first if after[name] <= first[name]] == []


async def test_a_process_that_begins_with_a_wrong_clock_deletes_nothing_at_once(
    store: Store, clock: Clock
) -> None:
    await writes(store, clock)
    first = await oldest(store)
    clock.now += idempotency.KEPT_SECONDS * 30
    store.steady = Steady(clock, clock.awake)  # as in a new process
    store.sessions._steady = store.service_grants._steady = store.outbox.steady = store.steady
    await writes(store, clock)
    assert await oldest(store) == first
