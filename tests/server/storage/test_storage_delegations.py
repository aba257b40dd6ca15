"""Links of chains are recorded once, each after the one before it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import store_access

from nomos.audit.record import Record
from nomos.server.storage import delegations
from nomos.server.storage.database import Database, StorageUnavailable
from nomos.server.storage.records import new_receipt_id

if TYPE_CHECKING:
    from nomos.server.storage.store import Store

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000
DECISION = "evt_1123456789abcdefghjkmnpqrs"


def link(cid: str, tenant: str = "default") -> Record:
    """A link's record as a verifier makes it, each time with an id of its own."""
    at = NOW * 1000
    return Record(
        id=new_receipt_id(at),
        tenant=tenant,
        kind="delegation",
        at=at,
        agent=f"agent {cid}",
        command="/x/y",
        cid=cid,
        root="root",
        parent=DECISION,
        detail={"by": "root", "depth": 1},
    )


def chain(*cids: str, tenant: str = "default") -> list[Record]:
    return [link(cid, tenant) for cid in cids]


async def recorded(store: Store, tenant: str = "default") -> dict[str | None, Record]:
    found = [
        row
        for row in await store_access.receipts(store, tenant, 10_000)
        if row.kind == "delegation"
    ]
    assert len({row.cid for row in found}) == len(found)
    return {row.cid: row for row in found}


async def test_no_links_record_nothing(store: Store) -> None:
    assert await store.delegations.note([]) is None
    assert await recorded(store) == {}


async def test_each_links_parent_is_the_one_before(store: Store) -> None:
    given = chain("a", "b", "c")
    last = await store.delegations.note(given)
    known = await recorded(store)
    assert [known[cid].id for cid in "abc"] == [link.id for link in given]
    assert [known[cid].parent for cid in "abc"] == [DECISION, given[0].id, given[1].id]
    assert last == given[2].id


async def test_a_branch_has_the_first_record_as_its_parent(store: Store) -> None:
    await store.delegations.note(chain("a", "b"))
    before = await recorded(store)
    last = await store.delegations.note(chain("a", "c", "d"))
    known = await recorded(store)
    assert {cid: known[cid] for cid in "ab"} == before
    assert known["c"].parent == known["a"].id
    assert (known["d"].parent, last) == (known["c"].id, known["d"].id)


async def test_a_known_chain_needs_no_write(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    last = await store.delegations.note(chain("a", "b"))
    middle = (await recorded(store))["a"].id

    async def none(database: Database, *work: object) -> None:
        raise AssertionError("a write")

    monkeypatch.setattr(Database, "write", none)
    assert await store.delegations.note(chain("a", "b")) == last
    assert await store.delegations.note(chain("a")) == middle
    with pytest.raises(AssertionError, match="a write"):
        await store.delegations.note(chain("c"))


async def test_links_dropped_from_the_cache_are_found_in_the_database(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegations, "REMEMBERED", 2)
    first = await store.delegations.note(chain("a"))
    for cid in "bcd":
        await store.delegations.note(chain(cid))
    assert len(store.delegations._known) == 2
    assert await store.delegations.note(chain("a")) == first
    assert set(await recorded(store)) == set("abcd")


async def test_recently_used_links_stay_in_the_cache(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegations, "REMEMBERED", 2)
    await store.delegations.note(chain("a"))
    await store.delegations.note(chain("b"))
    await store.delegations.note(chain("a"))
    await store.delegations.note(chain("c"))
    assert {cid for _, cid in store.delegations._known} == {"a", "c"}


async def test_concurrent_calls_record_a_link_once(store: Store) -> None:
    last = await asyncio.gather(*(store.delegations.note(chain(*"abcdefg")) for _ in range(50)))
    known = await recorded(store)
    assert set(known) == set("abcdefg")
    assert set(last) == {known["g"].id}


async def test_a_link_is_its_tenant_s_alone(store: Store) -> None:
    await store_access.add_tenant(store, "other", "did:key:other")
    mine = await store.delegations.note(chain("a"))
    theirs = await store.delegations.note(chain("a", tenant="other"))
    assert mine != theirs
    assert (await recorded(store, "other"))["a"].id == theirs


async def test_links_that_cannot_be_written_are_not_cached(store: Store) -> None:
    bad = chain("a")
    await store.record(bad[0])
    with pytest.raises(StorageUnavailable):
        await store.delegations.note([replace(link("b"), id=bad[0].id)])
    assert store.delegations._known == {}
    assert await store.delegations.note(chain("b")) is not None


async def test_a_random_forest_is_recorded_with_its_parents(store: Store) -> None:
    """Whatever is used first, each link is recorded once and hangs on the one before it."""
    some = random.Random(4)
    above: dict[str, str | None] = {}
    for number in range(200):
        above[f"cid {number}"] = some.choice([None, *above]) if above else None
    paths = []
    for cid, parent in above.items():
        path, at = [cid], parent
        while at is not None:
            path.insert(0, at)
            at = above[at]
        paths.append(path)
    some.shuffle(paths)
    for path in paths:
        await store.delegations.note(chain(*path))
    known = await recorded(store)
    assert set(known) == set(above)
    for cid, parent in above.items():
        assert known[cid].parent == (DECISION if parent is None else known[parent].id)
