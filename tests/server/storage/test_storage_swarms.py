"""Swarms are found by any of their names, within their tenant."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import store_access

from nomos.audit.record import Record
from nomos.server.storage.records import new_receipt_id
from nomos.server.storage.revocations import Kind, RevocationRequest, RevocationRow

if TYPE_CHECKING:
    from nomos.server.storage.store import Store

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000
ROOT, CHILD, OTHER = "did:key:root", "did:key:child", "did:key:other"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def row(**changes: Any) -> Record:
    at = changes.get("at", NOW * 1000)
    made = Record(
        id=new_receipt_id(at),
        tenant="default",
        kind="call",
        at=at,
        agent=ROOT,
        root=ROOT,
        app="app_1",
        command="/x/y",
        decision="allow",
    )
    return replace(made, **changes)


def link(by: str, to: str, root: str = ROOT, **detail: Any) -> Record:
    changes: dict[str, Any] = {
        "kind": "delegation",
        "agent": to,
        "root": root,
        "cid": sha(f"{by} {to} {root}"),
        "decision": None,
        "detail": {"by": by, "depth": 1, **detail},
    }
    return row(**changes)


async def keep(store: Store, *rows: Record) -> None:
    for each in rows:
        await store.record(each)


async def revoke(store: Store, ident: str, kind: Kind) -> Record:
    made: list[Record] = []

    def receipt(done: RevocationRow) -> Record:
        changes: dict[str, Any] = {
            "kind": "revocation",
            "at": done.at,
            "agent": None,
            "root": None,
            "detail": {"id": done.id},
        }
        made.append(row(**changes))
        return made[-1]

    await store.feed.revoke(RevocationRequest("default", ident, kind, NOW * 1000), receipt)
    return made[-1]


async def test_a_swarm_has_all_records_that_name_its_root(store: Store) -> None:
    decision, delegated = row(kind="decision", cid=sha("root")), link(ROOT, CHILD)
    called, refused = row(agent=CHILD), row(agent=CHILD, decision="deny")
    await keep(store, decision, delegated, row(agent=OTHER, root=OTHER), called, refused)
    await keep(store, row(root=None, agent=None), link(OTHER, CHILD, OTHER))
    found = (await store.swarms.records("default", ROOT, 100)).found
    assert found == (decision, delegated, called, refused)
    assert (await store.swarms.records("default", "did:key:nobody", 100)).found == ()
    assert (await store.swarms.records("other", ROOT, 100)).found == ()


async def test_a_large_swarm_has_its_links_and_latest_records(store: Store) -> None:
    links = [link(ROOT, f"did:key:child {n}") for n in range(5)]
    calls = [row(agent=CHILD, at=NOW * 1000 + n) for n in range(20)]
    await keep(store, *links, *calls)
    assert (await store.swarms.records("default", ROOT, 5)).found == (*links, *calls[-5:])
    assert (await store.swarms.records("default", ROOT, 3)).found == (*links[-3:], *calls[-3:])


async def test_a_swarm_has_its_revocations(store: Store) -> None:
    delegated = link(ROOT, CHILD)
    await keep(store, row(), delegated)
    first = await revoke(store, str(delegated.cid), "cid")
    elsewhere = await revoke(store, sha("other"), "cid")
    agent = await revoke(store, CHILD, "agent")
    found = (await store.swarms.records("default", ROOT, 100)).found
    assert found[-2:] == (first, agent)
    assert elsewhere not in found
    await store_access.revoke(store, "default", [ROOT])  # without a record of who did it
    assert (await store.swarms.records("default", ROOT, 100)).found == found


async def test_roots_that_delegated_are_listed_latest_first(store: Store) -> None:
    await keep(store, link(ROOT, CHILD), link(OTHER, CHILD, OTHER), row(agent="x", root="x"))
    assert await store.swarms.roots("default", 10) == (OTHER, ROOT)
    await keep(store, link(ROOT, "did:key:second"), row(agent=OTHER, root=OTHER))
    assert await store.swarms.roots("default", 10) == (ROOT, OTHER)
    assert await store.swarms.roots("default", 1) == (ROOT,)
    assert await store.swarms.roots("other", 10) == ()


async def test_a_swarm_is_found_by_agent_record_delegation_and_label(store: Store) -> None:
    decision = row(kind="decision", cid=sha("granted"))
    delegated, called = link(ROOT, CHILD, swarm="night-shift"), row(agent=CHILD)
    await keep(store, decision, delegated, called, row(agent=OTHER, root=OTHER))
    for ident in (
        *(ROOT, CHILD, decision.id, delegated.id, called.id),
        *(sha("granted"), str(delegated.cid), "night-shift"),
    ):
        assert await store.swarms.roots_of("default", ident) == (ROOT,), ident
        assert await store.swarms.roots_of("other", ident) == ()
    for ident in ("evt_nothing", sha("nothing"), "did:key:nobody", "day-shift", "%", "", "_"):
        assert await store.swarms.roots_of("default", ident) == ()


async def test_an_agent_of_several_swarms_is_found_in_each(store: Store) -> None:
    await keep(store, link(ROOT, CHILD), link(OTHER, CHILD, OTHER), row(agent=CHILD, root=CHILD))
    assert await store.swarms.roots_of("default", CHILD) == (OTHER, ROOT, CHILD)
    await keep(store, link(CHILD, "did:key:last", CHILD))
    assert await store.swarms.roots_of("default", CHILD) == (CHILD, OTHER, ROOT)


async def test_a_label_of_several_swarms_finds_the_latest_first(store: Store) -> None:
    await keep(store, link(ROOT, CHILD, swarm="crew"), link(OTHER, CHILD, OTHER, swarm="crew"))
    assert await store.swarms.roots_of("default", "crew") == (OTHER, ROOT)
    await keep(store, link(ROOT, "did:key:second", swarm="Crew"))
    assert await store.swarms.roots_of("default", "Crew") == (ROOT,)
    assert await store.swarms.roots_of("default", "cre") == ()


async def test_text_of_an_agent_in_a_link_names_no_swarm(store: Store) -> None:
    """A statement that looks like a record's own member is not one."""
    bait = {"swarm": "bait", "agent": "did:key:bait"}
    delegated = link(ROOT, CHILD, pol=[["==", ".args", bait]])
    await keep(store, replace(delegated, resource={"provider": "p", **bait}))
    assert await store.swarms.roots_of("default", "bait") == ()
    assert await store.swarms.roots_of("default", "did:key:bait") == ()


async def test_a_used_link_is_known_to_the_revocation_log(store: Store) -> None:
    """By its cid and by who was given it; and it is the app's whose grant it began with."""
    delegated = link(ROOT, CHILD)
    feed, cid = store.feed, str(delegated.cid)
    assert not await feed.known("default", cid)
    assert not await feed.known("default", CHILD)
    await keep(store, delegated)
    assert await feed.known("default", cid)
    assert await feed.known("default", CHILD)
    assert await feed.belongs("default", "app_1", cid)
    assert not await feed.belongs("default", "app_2", cid)
    assert not await feed.belongs("other", "app_1", cid)
