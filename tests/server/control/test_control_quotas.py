"""One app cannot fill the disk, and does not affect other apps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nomos._identifiers import cid_of
from nomos.server.http import quotas
from nomos.server.http.quotas import BYTES_A_SECOND, QUESTIONS_A_SECOND, QuotaExceeded, Quotas

if TYPE_CHECKING:
    from server.control.conftest import Plane

pytestmark = pytest.mark.anyio


def taken(left: Quotas, app: str, size: int, now: float) -> int:
    """How many questions pass before one does not."""
    for number in range(100_000):
        try:
            left.take(app, size, now)
        except QuotaExceeded as exceeded:
            return number if exceeded.wait == 1 else -exceeded.wait
    return 100_000


def test_a_burst_is_admitted_and_then_a_steady_rate() -> None:
    left = Quotas(50)
    assert taken(left, "a", 0, 100.0) == 50
    assert taken(left, "b", 0, 100.0) == 50
    assert taken(left, "a", 0, 100.0 + 10.5 / QUESTIONS_A_SECOND) == 10
    assert taken(left, "a", 0, 1000.0) == 50
    assert taken(left, "a", 0, 0.0) == 0


def test_large_questions_use_more_of_the_quota() -> None:
    left = Quotas(1000, BYTES_A_SECOND, kept=0)
    assert taken(left, "a", BYTES_A_SECOND // 4, 1.0) == 4
    assert taken(left, "a", BYTES_A_SECOND // 4, 1.5) == 2
    left.take("b", 100 * BYTES_A_SECOND, 1.0)
    assert taken(left, "b", 3, 1.0) == 0


def test_retry_after_is_in_whole_seconds() -> None:
    left = Quotas(1000, 10 * BYTES_A_SECOND, kept=0)
    left.take("a", 10 * BYTES_A_SECOND, 1.0)
    with pytest.raises(QuotaExceeded, match="bytes") as refused:
        left.take("a", 5 * BYTES_A_SECOND - 1, 1.0)
    assert refused.value.headers == {"retry-after": "5"}


def test_apps_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "MOST_APPS", 3)
    left = Quotas()
    for number in range(10):
        left.take(f"app {number}", 1, 1.0)
    assert list(left._left) == ["app 7", "app 8", "app 9"]


async def test_an_app_over_its_quota_gets_429_without_a_record(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "QUESTIONS_A_SECOND", 0.001)
    plane.system.quotas._questions = 3
    other = await plane.another()
    replies = [await plane.ask({"idempotency-key": f"{n}"}) for n in range(5)]
    statuses = [reply.status_code for reply in replies]
    assert statuses[:3] == [200] * 3
    assert 429 in statuses
    late = next(reply for reply in replies if reply.status_code == 429)
    assert late.json()["error_code"] == "rate_limited"
    assert int(late.headers["retry-after"]) >= 1
    assert len(await plane.receipts()) == statuses.count(200)
    assert (await plane.ask(other)).status_code == 200


async def test_revocations_by_an_app_count_and_those_by_operators_do_not(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "QUESTIONS_A_SECOND", 0.001)
    app, operator = await plane.another(), await plane.another("operator")
    granted = (await plane.ask(app)).json()["chain"][0]
    monkeypatch.setattr(plane.system.quotas, "_questions", 2)

    async def revoked(headers: dict[str, str], ident: str) -> int:
        reply = await plane.client.post("/v1/revocations", json={"id": ident}, headers=headers)
        return reply.status_code

    statuses = [await revoked(app, cid_of(granted)) for _ in range(4)]
    assert statuses == [200, 200, 429, 429]
    assert [await revoked(operator, f"{n:064x}") for n in range(4)] == [200] * 4


def test_the_defaults_admit_a_burst_of_5000_questions() -> None:
    assert taken(Quotas(), "a", 1000, 1.0) >= 5000
