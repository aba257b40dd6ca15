"""A clock that is wrong for a while: no used token works again, and new ones soon work."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from data_folders import NOW, Clock, opened

from nomos._io.signer import SignerConnection
from nomos.audit.record import Record
from nomos.policy.bundle import Source
from nomos.server.control.context import rates_of_apps
from nomos.server.control.limits import MOST_FAILURES, LoginThrottle
from nomos.server.domain.authorization import StoredAnswer
from nomos.server.domain.envelope import Envelope
from nomos.server.http.limits import SlidingWindowCounter
from nomos.server.storage import idempotency, nonces, outbox, tables
from nomos.server.storage.failures import Forgotten
from nomos.server.storage.sessions import Issue
from nomos.server.storage.store import Store

pytestmark = pytest.mark.anyio

HOUR, YEARS = 3600, 10 * 365 * 86400


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_write_is_not_done_twice_after_the_clock_was_an_hour_ahead(
    tmp_path: Path, link: SignerConnection, clock: Clock
) -> None:
    data = tmp_path / "data"
    async with opened(data, link, clock) as running:
        key, token = running.key, await running.write_token()
        assert await running.wrote(token) == "ok"
        clock.now = NOW + HOUR + 300
        for _ in range(70):
            assert await running.wrote(await running.write_token(ttlSeconds=60)) == "ok"
        clock.now = NOW + 10
    async with opened(data, link, clock, key=key) as running:
        refused = await running.write(token)
        assert refused.status_code == 503
        assert "clock was ahead" in refused.json()["error"]
        assert "2027-01-15T09:00:00Z" in refused.json()["error"]
        # What is asked for now ends later than what was forgotten.
        assert await running.wrote(await running.write_token()) == "ok"


async def test_writes_work_after_a_clock_was_years_ahead(tmp_path: Path, clock: Clock) -> None:
    store = Store(tmp_path, clock)
    await store.migrate()
    assert await store.claim_nonce("i", "a", "old", NOW + 60)
    for ahead in (YEARS, YEARS + HOUR):
        clock.now = NOW + ahead
        for number in range(100):
            assert await store.claim_nonce("i", "a", f"{ahead}.{number}", int(clock.now) + 60)
    clock.now = NOW
    with pytest.raises(Forgotten, match="clock was ahead"):
        await store.claim_nonce("i", "a", "old", NOW + 60)
    assert await store.claim_nonce("i", "a", "new", NOW + 61)
    await store.close()
    store = Store(tmp_path, clock)
    with pytest.raises(Forgotten):
        await store.claim_nonce("i", "a", "old", NOW + 60)
    await store.close()


async def test_spans_are_few_and_only_grow(tmp_path: Path, clock: Clock) -> None:
    store = Store(tmp_path, clock)
    await store.migrate()
    ends = [NOW + number * 2 * HOUR for number in range(3 * nonces.MAX_SPANS)]

    def work(connection: sa.Connection) -> int:
        for end in ends:
            connection.execute(
                tables.nonces.insert(),
                {"issuer": "i", "audience": "a", "nonce": str(end), "expires_at": end},
            )
            assert nonces.prune(connection, end + 121) == end + 1
        for end in ends:
            assert nonces.forgotten_until(connection, end) is not None
        assert nonces.forgotten_until(connection, NOW - 1) is None
        assert nonces.forgotten_until(connection, ends[-1] + 1) is None
        return len(connection.execute(sa.select(tables.nonces_spans)).all())

    assert await store.database.write(work) == nonces.MAX_SPANS
    await store.close()


async def test_the_oldest_of_too_many_spans_are_joined(tmp_path: Path, clock: Clock) -> None:
    """Not two with now between them, however near: then nothing would work."""
    store = Store(tmp_path, clock)
    await store.migrate()
    week = 7 * 24 * HOUR

    def work(connection: sa.Connection) -> None:
        last = NOW + (nonces.MAX_SPANS - 1) * week
        for number in range(nonces.MAX_SPANS):
            nonces.remember_span(connection, NOW + number * week, NOW + number * week + 300)
        nonces.remember_span(connection, last + 5 * 24 * HOUR, last + 5 * 24 * HOUR + 300)
        assert nonces.forgotten_until(connection, last + 660) is None
        assert nonces.forgotten_until(connection, NOW + HOUR) == NOW + week + 300

    await store.database.write(work)
    await store.close()


def test_counts_of_a_later_time_do_not_count() -> None:
    rates, pace, attempts = rates_of_apps(), SlidingWindowCounter(), LoginThrottle()
    for _ in range(MOST_FAILURES):
        rates.count("app", NOW + 600)
        pace.count("app", NOW + 600)
        attempts.failed("there", NOW + 600)
    assert (rates.count("app", NOW), pace.count("app", NOW)) == (0, 0)
    assert attempts.wait("there", NOW) == 0
    assert (rates.count("app", NOW), pace.count("app", NOW)) == (1, 1)
    # Nor do they count once that time has come.
    assert (rates.count("app", NOW + 600), pace.count("app", NOW + 600)) == (0, 0)
    assert rates_of_apps([("app", NOW + 600, 12)]).count("app", NOW) == 0


RATED = Source(
    "rated.cedar",
    "permit(principal, action, resource) when { context.rate < 10 };",
)


async def test_questions_of_a_later_time_do_not_count_in_the_rate(
    tmp_path: Path, link: SignerConnection, clock: Clock
) -> None:
    data = tmp_path / "data"
    async with opened(data, link, clock, policies=(RATED,)) as running:
        clock.now = NOW + 600
        said = [(await running.ask()).json()["decision"] for _ in range(12)]
        assert said[-1] == "deny"
        clock.now = NOW
        assert (await running.ask()).json()["decision"] == "allow"
        clock.now = NOW + 601
        key = running.key
    clock.now = NOW + 2
    async with opened(data, link, clock, key=key, policies=(RATED,)) as running:
        assert (await running.ask()).json()["decision"] == "allow"


@pytest.mark.parametrize("ahead", [-HOUR, 61, HOUR, YEARS])
async def test_a_stored_answer_is_repeated_for_a_day_by_any_clock(
    tmp_path: Path, clock: Clock, ahead: int
) -> None:
    store = Store(tmp_path, clock)
    await store.migrate()
    stored = StoredAnswer(*("default", "app_1", "key", "0" * 64, "evt_1", "agent"), {}, NOW + ahead)
    await store.database.write(idempotency.add, stored)
    found = (await store.prior("app_1", "key", ()))[0]
    assert (found is not None) == (abs(ahead) < 24 * HOUR)
    await store.close()


@pytest.mark.parametrize(("ahead", "state"), [(0, "pending"), (59, "pending"), (600, "expired")])
def test_a_question_of_a_later_time_has_expired(ahead: int, state: str) -> None:
    asked = NOW + ahead
    envelope = Envelope(
        *("env_1", "default", "app_1", "f", {}, ("role",), ()), "evt_1", asked, asked + 900
    )
    assert envelope.state_at(NOW) == state
    assert envelope.state_at(asked + 900) == "expired"


@pytest.mark.parametrize("ahead", [0, 59, 600, YEARS])
async def test_a_session_of_a_later_time_is_invalid(
    tmp_path: Path, link: SignerConnection, clock: Clock, ahead: int
) -> None:
    async with opened(tmp_path / "data", link, clock) as running:
        store, good = running.system.store, ahead < 60
        operator = await running.system.create_app("operator", "operator", ("*",))
        app = operator.reveal()[6:36]
        begun = Issue("h", "default", app, NOW + ahead, NOW + ahead + HOUR)
        record = Record("evt_" + "0" * 26, "default", "session", NOW)
        assert await store.sessions.begin(begun, record)
        assert (await store.sessions.find("h") is not None) == good
        await store.sessions.add_link(Issue("l", "default", app, NOW + ahead, NOW + ahead + 600))
        other = Issue("i", "default", app, NOW, NOW + HOUR)
        receipt = Record("evt_" + "1" * 26, "default", "session", NOW)
        assert await store.sessions.begin(other, receipt, link="l") == good


async def test_a_message_scheduled_by_a_wrong_clock_is_delivered_now(
    tmp_path: Path, clock: Clock
) -> None:
    store = Store(tmp_path, clock)
    await store.migrate()
    later = NOW + YEARS
    await store.database.write(outbox.add, "t", "approval.decided", {}, later * 1000)
    [message] = await store.outbox.due(1, 30)
    assert await store.outbox.due(1, 30) == ()
    await store.outbox.failed(message.id, "why", NOW + 300)
    assert await store.outbox.due(1, 30) == ()
    clock.now = NOW + 300
    assert len(await store.outbox.due(1, 30)) == 1
    await store.close()
