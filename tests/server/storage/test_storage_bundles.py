"""Versions of policies: numbered, immutable, activated and rolled back with a record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import store_access

from nomos.policy.bundle import Source
from nomos.server.policies.activation import policy_author
from nomos.server.storage.bundles import Content, PolicyAuthor, Version

if TYPE_CHECKING:
    from server.storage.conftest import Clock

    from nomos.server.storage.store import Store

pytestmark = pytest.mark.anyio

A = Content("a" * 64, (Source("a.cedar", "// a"),), {"ticket": "String"})
B = Content("b" * 64, (Source("b.cedar", "// b"), Source("c.cedar", "")), {})
C = Content("c" * 64, (), {})


@pytest.fixture
def who(clock: Clock) -> PolicyAuthor:
    return policy_author("default", clock, by="app_1", request_id="r")


async def acts(store: Store) -> list[tuple[str | None, int, str | None]]:
    """The policy records, oldest first."""
    found = reversed(await store_access.receipts(store, "default", 100))
    return [(each.act, each.detail["version"], each.actor) for each in found]


async def put(store: Store, who: PolicyAuthor, content: Content) -> Version:
    version, created = await store.policies.put(who, content)
    assert created
    return version


async def test_versions_are_numbered_and_read_back_equal(store: Store, who: PolicyAuthor) -> None:
    assert [(await put(store, who, each)).number for each in (A, B)] == [1, 2]
    found = await store.policies.find("default", 2)
    assert found is not None
    assert (found.content, found.origin, found.at, found.by) == (B, "api", who.at, "app_1")
    assert [each.number for each in (await store.policies.listed("default", 10)).found] == [2, 1]
    assert [each.number for each in (await store.policies.listed("default", 1)).found] == [2]
    assert [
        each.number for each in (await store.policies.listed("default", 9, before=2)).found
    ] == [1]
    assert await acts(store) == [("put", 1, "app_1"), ("put", 2, "app_1")]


async def test_the_same_content_is_the_same_version(store: Store, who: PolicyAuthor) -> None:
    first = await put(store, who, A)
    await put(store, who, B)
    again, created = await store.policies.put(who, A)
    assert (again, created) == (first, False)
    # Of one hash, for layout does not count in it, but not the same text and facts.
    for other in (
        Content(A.hash, (Source("a.cedar", "// other"),), A.facts),
        Content(A.hash, A.sources, {}),
    ):
        assert (await put(store, who, other)).number > 2
    assert len(await acts(store)) == 4


async def test_versions_belong_to_their_tenant(
    store: Store, who: PolicyAuthor, clock: Clock
) -> None:
    await put(store, who, A)
    other = policy_author("other", clock, by=None)
    assert (await store.policies.put(other, A))[0].number == 1
    assert await store.policies.find("third", 1) is None
    assert await store.policies.active("default") is None
    await store.policies.activate(other, (await store.policies.listed("other", 1)).found[0])
    assert await store.policies.active("default") is None


async def test_an_activation_counts_and_a_repeated_one_does_not(
    store: Store, who: PolicyAuthor
) -> None:
    a, b = await put(store, who, A), await put(store, who, B)
    for version, number in ((a, 1), (a, 1), (b, 2), (a, 3)):
        done = await store.policies.activate(who, version)
        assert done is not None
        assert (done.number, done.version) == (number, version.number)
        assert await store.policies.active("default") == done
    assert [each[:2] for each in await acts(store)][2:] == [
        ("activate", 1),
        ("activate", 2),
        ("activate", 1),
    ]


async def test_the_previously_active_version_is_known(store: Store, who: PolicyAuthor) -> None:
    versions = [await put(store, who, each) for each in (A, B, C)]
    last = await store.policies.activate(who, versions[0])
    assert last is not None
    assert await store.policies.before("default", last) is None
    for number in (1, 2):
        last = await store.policies.activate(who, versions[number])
        assert last is not None
        assert await store.policies.before("default", last) == versions[number - 1]


async def test_a_rollback_needs_the_number_of_the_active_version(
    store: Store, who: PolicyAuthor
) -> None:
    a, b = await put(store, who, A), await put(store, who, B)
    assert await store.policies.activate(who, a, act="rollback", after=1) is None
    await store.policies.activate(who, a)
    await store.policies.activate(who, b)
    tries = [store.policies.activate(who, a, act="rollback", after=2) for _ in range(5)]
    done = await asyncio.gather(*tries)
    assert [each is not None for each in done].count(True) == 1
    assert (await acts(store))[-1] == ("rollback", 1, "app_1")


async def test_files_become_a_version_when_they_changed(
    store: Store, who: PolicyAuthor, clock: Clock
) -> None:
    start = policy_author("default", clock, by=None)
    first, active = await store.policies.adopt(start, A)
    assert (first.number, first.origin, first.by, active.version) == (1, "file", None, 1)
    assert await acts(store) == []
    assert await store.policies.adopt(start, A) == (first, active)

    chosen = await put(store, who, B)
    activation = await store.policies.activate(who, chosen)
    assert await store.policies.adopt(start, A) == (chosen, activation)

    edited, active = await store.policies.adopt(start, C)
    assert (edited.number, active.version, active.by) == (3, 3, None)
    assert await store.policies.adopt(start, C) == (edited, active)

    # Files that become again what they once were are new files, too.
    back, active = await store.policies.adopt(start, A)
    assert (back.number, back.content, active.version) == (4, A, 4)
    await store.policies.activate(who, chosen)
    assert (await store.policies.adopt(start, A))[0] == chosen
    assert await acts(store) == [
        ("put", 2, "app_1"),
        ("activate", 2, "app_1"),
        ("put", 3, None),
        ("activate", 3, None),
        ("put", 4, None),
        ("activate", 4, None),
        ("activate", 2, "app_1"),
    ]


async def test_files_with_equal_content_and_another_hash_are_unchanged(
    store: Store, who: PolicyAuthor, clock: Clock
) -> None:
    start = policy_author("default", clock, by=None)
    filed = await store.policies.adopt(start, A)
    rehashed = Content("d" * 64, A.sources, A.facts)
    assert await store.policies.adopt(start, rehashed) == filed
    chosen = await put(store, who, B)
    activation = await store.policies.activate(who, chosen)
    assert await store.policies.adopt(start, rehashed) == (chosen, activation)


async def test_many_puts_at_once_get_a_number_each(store: Store, who: PolicyAuthor) -> None:
    contents = [Content(f"{place:064x}", (), {}) for place in range(20)]
    put = await asyncio.gather(*(store.policies.put(who, each) for each in contents))
    assert sorted(version.number for version, _ in put) == list(range(1, 21))
