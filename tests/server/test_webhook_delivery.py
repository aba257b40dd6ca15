"""From the outbox to a real receiver that fails, hangs, redirects and restarts."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from receiver import Receiver, receiving

from nomos import webhooks
from nomos.models import Secret
from nomos.server.background import webhooks as delivery
from nomos.server.background.notifier import Notifier
from nomos.server.background.webhooks import Deliverer, pause
from nomos.server.settings import Webhook
from nomos.server.storage.outbox import KEPT_SECONDS, Outbox
from nomos.server.storage.steady_clock import Steady
from nomos.server.storage.store import Store
from nomos.server.storage.tables import outbox

pytestmark = pytest.mark.anyio

SECRET = "whsec-" * 8
VIEW = {"id": "env_1", "state": "pending", "args": {"text": "zwölf ✓"}}
NOW = 1_800_000_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


class Sender:
    """A store whose outbox is delivered to a URL."""

    def __init__(self, store: Store, clock: Clock, bell: Notifier) -> None:
        self.store = store
        self.clock = clock
        self.bell = bell

    async def put(self, event: str = "approval.requested", tenant: str = "default") -> str:
        at = int(self.clock() * 1000)
        ident = await self.store.database.write(
            lambda connection: self.store.outbox.add(
                connection,
                tenant,
                event,  # type: ignore[arg-type]
                VIEW,
                at,
            )
        )
        assert ident is not None
        self.bell.notify("outbox")
        return ident

    async def rows(self) -> list[Any]:
        def work(connection: sa.Connection) -> list[Any]:
            return list(connection.execute(sa.select(outbox).order_by(outbox.c.id)))

        return await self.store.database.read(work)

    async def until(self, good: Callable[[list[Any]], bool], seconds: float = 15) -> list[Any]:
        async with asyncio.timeout(seconds):
            while not good(rows := await self.rows()):  # noqa: ASYNC110 (the database rings not)
                await asyncio.sleep(0.02)
        return rows


@asynccontextmanager
async def sending(
    folder: Path,
    url: str,
    clock: Clock | None = None,
    jitter: float = 1.0,
    awake: Clock | None = None,
) -> AsyncIterator[Sender]:
    clock = clock or Clock()
    store, bell = Store(folder, clock, steady=Steady(clock, awake or clock)), Notifier()
    await store.migrate()
    store.outbox.wanted = True
    deliverer = Deliverer(
        Webhook(url, Secret(SECRET)), store.outbox, bell, clock, jitter=lambda: jitter
    )
    chore = asyncio.create_task(deliverer.run())
    try:
        yield Sender(store, clock, bell)
        assert not chore.done(), chore
    finally:
        chore.cancel()
        await asyncio.gather(chore, return_exceptions=True)
        await store.close()


async def came(receiver: Receiver, count: int) -> list[Any]:
    return await asyncio.to_thread(receiver.wait, count)


async def test_a_message_is_delivered_signed_and_byte_for_byte(tmp_path: Path) -> None:
    with receiving() as receiver:
        async with sending(tmp_path, receiver.url) as sender:
            ident = await sender.put()
            (got,) = await came(receiver, 1)
            (row,) = await sender.until(lambda rows: rows[0].delivered_at is not None)
    assert got.path == "/hooks?team=blue"
    assert got.body == row.body.encode()
    assert got.headers["nomos-delivery"] == ident
    event = webhooks.verify(got.headers, got.body, SECRET, now=NOW)
    assert (event.id, event.event, event.tenant) == (ident, "approval.requested", "default")
    assert event.approval == VIEW
    assert event.created_at.timestamp() == NOW
    assert "authorization" not in {name.lower() for name in got.headers}


async def test_without_a_webhook_no_message_is_stored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.migrate()
    put = await store.database.write(store.outbox.add, "default", "approval.decided", VIEW, 1)
    count = await store.database.read(
        lambda connection: connection.scalar(sa.select(sa.func.count()).select_from(outbox))
    )
    await store.close()
    assert (put, count) == (None, 0)


async def test_a_message_belongs_to_the_transaction_that_wrote_it(tmp_path: Path) -> None:
    with receiving() as receiver:
        async with sending(tmp_path, receiver.url) as sender:

            def work(connection: sa.Connection) -> None:
                sender.store.outbox.add(connection, "default", "approval.requested", VIEW, 1)
                raise ValueError("undone")

            with pytest.raises(ValueError, match="undone"):
                await sender.store.database.write(work)
            assert await sender.rows() == []


async def test_a_failed_delivery_is_retried_with_a_new_time_until_accepted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    with receiving() as receiver:
        receiver.answer = lambda number: (500, 404, 200)[number]
        async with sending(tmp_path, receiver.url, clock) as sender:
            await sender.put()
            (row,) = await sender.until(lambda rows: rows[0].error is not None)
            assert (row.error, row.next_at, row.tries) == ("it answered 500", NOW + 1, 1)
            clock.now += 1
            (row,) = await sender.until(lambda rows: rows[0].tries == 2 and "404" in rows[0].error)
            assert row.next_at == NOW + 1 + 2
            clock.now += 2
            (row,) = await sender.until(lambda rows: rows[0].delivered_at is not None)
            assert (row.tries, row.error, row.delivered_at) == (3, None, NOW + 3)
        got = receiver.got
    assert len({one.body for one in got}) == 1
    signatures = [one.headers["nomos-signature"] for one in got]
    assert [value.split(",")[0] for value in signatures] == [
        f"t={NOW}",
        f"t={NOW + 1}",
        f"t={NOW + 3}",
    ]
    assert webhooks.verify(got[2].headers, got[2].body, SECRET, now=NOW + 3)
    assert "it answered 500. Retries go on" in caplog.text
    assert caplog.text.count("webhook:") == 1


async def test_no_delivery_is_tried_before_its_time(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.answer = lambda _: 503
        async with sending(tmp_path, receiver.url) as sender:
            await sender.put()
            await sender.until(lambda rows: rows[0].error is not None)
            await asyncio.sleep(1.5)
        assert len(receiver.got) == 1


async def test_a_delivery_is_given_up_after_a_day(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    with receiving() as receiver:
        receiver.answer = lambda _: 500
        async with sending(tmp_path, receiver.url, clock) as sender:
            ident = await sender.put()
            await sender.until(lambda rows: rows[0].error is not None)
            clock.now += delivery.GIVEN_UP_AFTER
            (row,) = await sender.until(lambda rows: rows[0].failed_at is not None)
            clock.now += 10_000
            sender.bell.notify("outbox")
            await asyncio.sleep(0.3)
        assert len(receiver.got) == 2
    assert (row.failed_at, row.delivered_at) == (NOW + delivery.GIVEN_UP_AFTER, None)
    (error,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert f"{ident} (approval.requested) is given up after 2 tries" in error.getMessage()


async def test_a_hanging_receiver_does_not_delay_other_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "TRY_SECONDS", 0.5)
    with receiving() as receiver:
        receiver.hang = 3
        async with sending(tmp_path, receiver.url) as sender:
            await sender.put()
            (row,) = await sender.until(lambda rows: rows[0].error is not None, seconds=3)
            assert row.error == "no answer within 0.5 s"
            receiver.hang = 0
            await sender.put()
            rows = await sender.until(lambda rows: any(row.delivered_at for row in rows), seconds=3)
    # Both were put in one moment, so their order says nothing.
    assert sorted(row.delivered_at is not None for row in rows) == [False, True]


async def test_no_redirect_is_followed(tmp_path: Path) -> None:
    with receiving() as elsewhere, receiving() as receiver:
        receiver.answer = lambda _: 307
        receiver.location = elsewhere.url
        async with sending(tmp_path, receiver.url) as sender:
            await sender.put()
            (row,) = await sender.until(lambda rows: rows[0].error is not None)
            await asyncio.sleep(0.2)
        assert "redirect" in row.error
        assert elsewhere.got == []


async def test_no_proxy_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        async with sending(tmp_path, receiver.url) as sender:
            await sender.put()
            await came(receiver, 1)
        assert proxy.got == []


async def test_at_most_eight_deliveries_run_at_once(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.hang = 0.2
        async with sending(tmp_path, receiver.url) as sender:
            for _ in range(20):
                await sender.put()
            await sender.until(lambda rows: all(row.delivered_at for row in rows))
        assert len(receiver.got) == 20
        assert 2 <= receiver.most_at_once <= delivery.AT_ONCE


async def test_two_processes_share_the_work_and_do_it_once(tmp_path: Path) -> None:
    with receiving() as receiver:
        async with (
            sending(tmp_path, receiver.url) as one,
            sending(tmp_path, receiver.url) as other,
        ):
            for number in range(30):
                await (one, other)[number % 2].put()
            await one.until(lambda rows: all(row.delivered_at for row in rows))
        assert len(receiver.got) == 30
        assert len({got.headers["nomos-delivery"] for got in receiver.got}) == 30


async def test_a_receiver_gets_the_message_after_an_outage(tmp_path: Path) -> None:
    clock = Clock()
    with receiving() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        url = receiver.url
    async with sending(tmp_path, url, clock) as sender:
        ident = await sender.put()
        (row,) = await sender.until(lambda rows: rows[0].error is not None)
        assert row.error == "it cannot be reached (Connection refused)"
        with receiving(port) as back:
            clock.now += 1
            (got,) = await came(back, 1)
            await sender.until(lambda rows: rows[0].delivered_at is not None)
    assert got.headers["nomos-delivery"] == ident


DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from nomos.server.storage.store import Store

async def main():
    store = Store(Path(sys.argv[1]))
    await store.migrate()
    store.outbox.wanted = True
    work = lambda c: store.outbox.add(c, "default", "approval.requested", {"id": "env_9"}, 1000)
    print(await store.database.write(work), flush=True)
    if sys.argv[2] == "claimed":
        assert len(await store.outbox.due(8, 30)) == 1
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["committed", "claimed"])
async def test_kill_9_loses_no_message(tmp_path: Path, where: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", DIES, str(tmp_path), where],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    ident = done.stdout.strip()
    clock = Clock()
    clock.now = 2_000_000_000  # the lease of the dead is long over
    with receiving() as receiver:
        async with sending(tmp_path, receiver.url, clock) as sender:
            (got,) = await came(receiver, 1)
            await sender.until(lambda rows: rows[0].delivered_at is not None)
    assert got.headers["nomos-delivery"] == ident
    assert json.loads(got.body)["approval"] == {"id": "env_9"}


async def test_a_claimed_message_is_not_sent_by_others_until_the_lease_ends(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path, clock)
    await store.migrate()
    store.outbox.wanted = True
    await store.database.write(
        lambda connection: store.outbox.add(
            connection, "default", "approval.requested", VIEW, NOW * 1000
        )
    )
    first = await store.outbox.due(8, 30)
    again = await store.outbox.due(8, 30)
    clock.now += 30
    later = await store.outbox.due(8, 30)
    await store.close()
    assert [message.tries for message in first] == [1]
    assert again == ()
    assert [message.tries for message in later] == [2]
    assert "zwölf" not in repr(first)


async def test_a_clock_that_jumps_does_not_end_the_retries(tmp_path: Path) -> None:
    clock = Clock()
    with receiving() as receiver:
        receiver.answer = lambda _: 500
        async with sending(tmp_path, receiver.url, clock, awake=Clock()) as sender:
            await sender.put()
            await sender.until(lambda rows: rows[0].error is not None)
            clock.now += delivery.GIVEN_UP_AFTER
            await sender.until(lambda rows: rows[0].tries == 2)
            (row,) = await sender.until(lambda rows: rows[0].next_at < clock.now + 10)
    assert row.failed_at is None


async def test_settled_messages_are_deleted_after_a_week(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path, clock)
    await store.migrate()
    box = Outbox(store.database, clock, Steady(clock, clock))
    box.wanted = True
    idents = [
        await store.database.write(box.add, "default", "approval.decided", VIEW, NOW * 1000)
        for _ in range(3)
    ]
    await box.delivered(str(idents[0]))
    await box.failed(str(idents[1]), "no", None)
    clock.now += KEPT_SECONDS + 1
    await box.prune()
    left = await store.database.read(
        lambda connection: list(connection.scalars(sa.select(outbox.c.id)))
    )
    await store.close()
    assert left == [idents[2]]


@pytest.mark.parametrize(
    ("tries", "least", "most"), [(1, 0.5, 1), (2, 1, 2), (5, 8, 16), (10, 150, 300), (99, 150, 300)]
)
def test_the_pause_doubles_up_to_five_minutes(tries: int, least: float, most: float) -> None:
    assert pause(tries, 0.0) == least
    assert pause(tries, 1.0) == most


async def test_neither_secret_nor_url_is_logged_or_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with receiving() as receiver:
        receiver.answer = lambda _: 500
        async with sending(tmp_path, receiver.url) as sender:
            await sender.put()
            await sender.until(lambda rows: rows[0].error is not None)
    ours = "\n".join(one.getMessage() for one in caplog.records if one.name.startswith("nomos"))
    assert "it answered 500" in ours
    assert SECRET not in caplog.text
    assert "team=blue" not in ours
    shown = repr(Webhook(receiver.url, Secret(SECRET)))
    assert SECRET not in shown
    assert receiver.url not in shown
