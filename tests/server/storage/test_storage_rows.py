"""Stored rows are read back, belong to their tenant, and expire."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
import store_access
from hypothesis import given
from hypothesis import strategies as some

from nomos._core.shares import FEWEST_SHARED, LEEWAY_SECONDS
from nomos.audit.record import Record
from nomos.server.domain.accounts import ApiKey, App
from nomos.server.domain.authorization import StoredAnswer
from nomos.server.storage import idempotency, nonces, shares, tables
from nomos.server.storage.database import StorageUnavailable
from nomos.server.storage.identifiers import new_ident
from nomos.server.storage.records import new_receipt_id

if TYPE_CHECKING:
    from server.storage.conftest import Clock

    from nomos.server.storage.store import Store

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000


def receipt(**changes: Any) -> Record:
    at = changes.get("at", NOW * 1000)
    row = Record(
        id=new_receipt_id(at),
        tenant="default",
        kind="decision",
        at=at,
        app="app_1",
        agent="did:key:agent",
        command="/github/issue/list",
        resource={"provider": "github", "owner": "acme"},
        args={"state": "open", "n": 1},
        decision="allow",
        reason=None,
        policies=("a", "b"),
        bundle="0" * 64,
        purpose="triage\u0000",
        expires_at=NOW + 300,
        cid="1" * 64,
        request_id="req",
        status=200,
    )
    return replace(row, **changes)


def answer(key: str, row: Record, **changes: Any) -> StoredAnswer:
    stored = StoredAnswer(
        tenant="default",
        app="app_1",
        key=key,
        request_hash="2" * 64,
        receipt_id=row.id,
        agent="did:key:agent",
        answer={"decision": "deny"},
        created_at=NOW,
    )
    return replace(stored, **changes)


async def rows(store: Store, table: sa.Table) -> int:
    count = sa.select(sa.func.count()).select_from(table)
    found: int | None = await store.database.read(lambda connection: connection.scalar(count))
    return found or 0


async def test_a_receipt_is_read_back_equal(store: Store) -> None:
    full = receipt()
    bare = receipt(
        kind="call",
        app=None,
        agent=None,
        args=None,
        decision="deny",
        reason="malformed_ucan",
        policies=(),
        resource={},
        purpose=None,
        expires_at=None,
        cid=None,
        request_id=None,
        status=401,
    )
    for row in (full, bare):
        await store.record(row)
        assert await store_access.receipt(store, "default", row.id) == row


async def test_receipts_are_their_tenant_s_alone(store: Store) -> None:
    row = receipt()
    await store.record(row)
    assert await store_access.receipt(store, "other", row.id) is None
    assert await store_access.receipts(store, "other") == ()


async def test_the_newest_receipts_come_first_within_the_limit(store: Store) -> None:
    made = [receipt(at=NOW * 1000 + n) for n in range(5)]
    for row in made:
        await store.record(row)
    assert await store_access.receipts(store, "default", 3) == tuple(reversed(made))[:3]


async def test_decisions_are_counted_by_app_and_second(store: Store) -> None:
    for at, kind, app in (
        (999, "decision", "app_1"),
        (1000, "decision", "app_1"),
        (1999, "decision", "app_1"),
        (2000, "decision", "app_2"),
        (2000, "call", "app_1"),
    ):
        await store.record(receipt(at=at, kind=kind, app=app))
    assert set(await store.decisions_since(1000)) == {("app_1", 1, 2), ("app_2", 2, 1)}


async def test_a_nonce_works_once(store: Store) -> None:
    assert await store.claim_nonce("i", "a", "n", NOW + 60)
    assert not await store.claim_nonce("i", "a", "n", NOW + 60)
    assert await store.claim_nonce("other", "a", "n", NOW + 60)
    assert await store.claim_nonce("i", "other", "n", NOW + 60)
    assert await store.claim_nonce("i", "a", "other", NOW + 60)


async def test_one_of_many_concurrent_claims_gets_the_nonce(store: Store) -> None:
    claims = (store.claim_nonce("i", "a", "n", NOW + 60) for _ in range(50))
    assert sorted(await asyncio.gather(*claims)) == [False] * 49 + [True]


async def test_a_nonce_is_kept_longer_than_its_token_can_be_used(
    store: Store, clock: Clock
) -> None:
    assert await store.claim_nonce("i", "a", "n", NOW)
    clock.now += 60
    for n in range(nonces.PRUNE_EVERY):
        await store.claim_nonce("i", "a", f"other {n}", NOW + 3600)
    assert not await store.claim_nonce("i", "a", "n", NOW)


async def test_a_nonce_deleted_by_a_clock_that_was_ahead_is_refused(
    store: Store, clock: Clock
) -> None:
    assert await store.claim_nonce("i", "a", "n", NOW + 60)
    clock.now += 4000
    for n in range(nonces.PRUNE_EVERY):
        assert await store.claim_nonce("i", "a", f"other {n}", NOW + 9000)
    clock.now = NOW
    with pytest.raises(StorageUnavailable, match="may have been used and deleted"):
        await store.claim_nonce("i", "a", "n", NOW + 60)
    assert not await store.claim_nonce("i", "a", "other 0", NOW + 9000)
    assert await store.claim_nonce("i", "a", "new", NOW + 61)


async def test_old_nonces_are_deleted_a_few_at_a_time(store: Store, clock: Clock) -> None:
    for n in range(300):
        await store.claim_nonce("i", "a", f"old {n}", NOW)
    clock.now += LEEWAY_SECONDS + 1
    left = await rows(store, tables.nonces)
    for n in range(nonces.PRUNE_EVERY):
        await store.claim_nonce("i", "a", f"new {n}", NOW + 3600)
    after = await rows(store, tables.nonces)
    assert left + nonces.PRUNE_EVERY - after == nonces.PRUNED_AT_ONCE
    for n in range(300):
        await store.claim_nonce("i", "a", f"newer {n}", NOW + 3600)
    assert await rows(store, tables.nonces) == nonces.PRUNE_EVERY + 300


async def test_an_answer_is_kept_with_its_receipt(store: Store) -> None:
    row = receipt()
    stored = answer("k", row, answer={"a": [1, {"b": None}]}, cid="3" * 64, expires_at=NOW + 1)
    assert await store.record_answer(row, stored) is None
    assert (await store.prior("app_1", "k", ()))[0] == stored
    assert (await store.prior("app_2", "k", ()))[0] is None
    assert await store_access.receipt(store, "default", row.id) == row


async def test_a_second_answer_to_a_key_is_not_stored(store: Store) -> None:
    first, second = receipt(), receipt()
    stored = answer("k", first)
    await store.record_answer(first, stored)
    assert await store.record_answer(second, answer("k", second)) == stored
    assert await store_access.receipt(store, "default", second.id) is None


async def test_an_answer_expires_after_a_day(store: Store, clock: Clock) -> None:
    first, second = receipt(), receipt()
    await store.record_answer(first, answer("k", first))
    clock.now += idempotency.KEPT_SECONDS - 1
    assert (await store.prior("app_1", "k", ()))[0] is not None
    clock.now += 1
    assert (await store.prior("app_1", "k", ()))[0] is None
    later = answer("k", second, created_at=int(clock.now))
    assert await store.record_answer(second, later) is None
    assert (await store.prior("app_1", "k", ()))[0] == later


async def test_old_answers_are_deleted_a_few_at_a_time(store: Store, clock: Clock) -> None:
    for n in range(100):
        row = receipt()
        await store.record_answer(row, answer(f"old {n}", row))
    clock.now += idempotency.KEPT_SECONDS
    for n in range(idempotency.PRUNE_EVERY):
        row = receipt()
        await store.record_answer(row, answer(f"new {n}", row, created_at=int(clock.now)))
    left = await rows(store, tables.idempotency)
    assert left == 100 + idempotency.PRUNE_EVERY - idempotency.PRUNED_AT_ONCE
    for n in range(100):
        row = receipt()
        await store.record_answer(row, answer(f"newer {n}", row, created_at=int(clock.now)))
    assert await rows(store, tables.idempotency) == idempotency.PRUNE_EVERY + 100
    assert len(await store_access.receipts(store, "default", 1000)) == 200 + idempotency.PRUNE_EVERY


async def test_revocations_are_permanent(store: Store, clock: Clock) -> None:
    assert await store.revoked(["a", "b"]) == frozenset()
    assert await store.revoked([]) == frozenset()
    await store_access.revoke(store, "default", ["a", "a", "c"])
    clock.now += 1
    await store_access.revoke(store, "default", ["a", "b"])
    assert await store.revoked(["a", "b", "d"]) == {"a", "b"}
    many = [f"cid {n}" for n in range(200)]
    await store_access.revoke(store, "default", many)
    assert await store.revoked(many) == set(many)


async def test_an_earlier_answer_and_revocations_are_read_together(store: Store) -> None:
    row = receipt()
    stored = answer("k", row)
    await store.record_answer(row, stored)
    await store_access.revoke(store, "default", ["a"])
    assert await store.prior("app_1", "k", ["a", "b"]) == (stored, frozenset("a"))
    assert await store.prior("app_1", None, ["a", "b"]) == (None, frozenset("a"))
    assert await store.prior("app_2", "k", []) == (None, frozenset())


async def test_the_keys_of_an_app_show_whether_it_is_disabled(store: Store) -> None:
    assert await store.keys_of("app_1") == (ApiKey("app_1", "default", "agent", "0" * 64),)
    assert await store.keys_of("app_2") == ()
    assert await store_access.disable_app(store, "default", "app_1")
    [key] = await store.keys_of("app_1")
    assert key.disabled
    assert await store_access.disable_app(store, "default", "app_1")
    assert not await store_access.disable_app(store, "default", "app_2")


async def test_an_app_and_its_key_are_added_together_or_not_at_all(store: Store) -> None:
    with pytest.raises(Exception, match="database failed"):
        await store.add_app(
            App("app_2", "default", "two", NOW), ApiKey("app_3", "default", "agent", "0" * 64)
        )
    assert await rows(store, tables.apps) == 1


async def test_an_app_belongs_to_a_tenant_that_exists(store: Store) -> None:
    with pytest.raises(Exception, match="database failed"):
        await store.add_app(
            App("app_2", "nobody", "two", NOW), ApiKey("app_2", "nobody", "agent", "0" * 64)
        )


@given(some.integers(0, 2**48 - 1), some.integers(0, 2**48 - 1))
def test_identifiers_sort_by_time(one: int, other: int) -> None:
    idents = new_ident("evt", one), new_ident("evt", other)
    if one != other:
        assert (idents[0] < idents[1]) == (one < other)
    assert all(len(ident) == 30 for ident in idents)


def test_identifiers_do_not_repeat() -> None:
    assert len({new_ident("evt", NOW) for _ in range(1000)}) == 1000
    assert new_ident("evt", 2**48 - 1, lambda bits: 2**bits - 1) == "evt_7" + "z" * 25
    assert new_ident("x", 0, lambda _: 0) == "x_" + "0" * 26


async def test_an_app_with_many_children_is_limited_to_its_share(
    store: Store, clock: Clock
) -> None:
    ends = int(clock.now) + 60
    store._shares = shares.NonceShares(FEWEST_SHARED)
    for number in range(FEWEST_SHARED * 2 // 5):
        assert await store.claim_nonce(f"child {number}", "pdp", "n", ends, "app_1")
    with pytest.raises(shares.ShareExceeded, match="this app, with all its agents, has used 400"):
        await store.claim_nonce("one more child", "pdp", "n", ends, "app_1")
    assert await store.claim_nonce("agent", "pdp", "n", ends, "app_2")
    clock.now += 200
    assert await store.claim_nonce("one more child", "pdp", "n", int(clock.now) + 60, "app_1")
