"""Records of delegations, and of calls by children, allowed or refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
import store_access
from server.pdp.unchecked_chains import (
    APP,
    FILES,
    READ,
    RECEIPT,
    WRITE,
    ChainHolder,
    agent_chain,
    file,
    root,
)

from nomos.audit.record import Record
from nomos.server.pdp.context import PdpLimits
from nomos.server.pdp.gate import Gate
from nomos.server.pdp.request_parsing import PdpRequest
from nomos.server.pdp.statuses import PdpError

if TYPE_CHECKING:
    from server.pdp.conftest import World

Did = Callable[[], str]
NIGHT = f"{APP}/night-shift"


@pytest.fixture(autouse=True)
def notes(world: World) -> None:
    for folder in ("notes", "notes/a", "careful"):
        (world.folder / folder).mkdir()
        (world.folder / folder / "f").write_text("content")


def family(world: World, of: ChainHolder, tenant: str = "acme") -> tuple[Record, ...]:
    """All that is recorded of a family."""
    return world.run(world.store.store.swarms.records(tenant, of.did, 10_000)).found


def links(world: World, of: ChainHolder) -> dict[str | None, Record]:
    """The records of the family's links by their cids; there is one for each."""
    found = [row for row in family(world, of) if row.kind == "delegation"]
    assert len({row.cid for row in found}) == len(found)
    return {row.cid: row for row in found}


def test_a_root_agent_records_no_links(world: World, did: Did) -> None:
    first = root(world, did())
    (row,) = world.receipts(first.read("notes/f"))
    assert (row.root, row.agent, row.parent, row.cid) == (first.did, first.did, RECEIPT, first.cid)
    assert family(world, first) == (row,)


def test_a_link_is_recorded_when_it_is_first_used(world: World, did: Did) -> None:
    first = root(world, did())
    pol = [["==", ".cmd", READ]]
    child = first.delegate(did(), FILES, "notes/a", ttl=200, pol=pol)
    assert links(world, first) == {}
    (call,) = world.receipts(child.read("notes/a/f"))
    (link,) = links(world, first).values()
    assert (link.kind, link.tenant, link.app) == ("delegation", "acme", APP)
    assert (link.agent, link.root, link.parent) == (child.did, first.did, RECEIPT)
    assert (link.command, link.resource, link.cid) == (FILES, file("notes/a"), child.cid)
    assert (link.expires_at, link.at) == (int(world.now) + 200, int(world.now) * 1000)
    assert link.detail == {"by": first.did, "depth": 1, "pol": pol}
    assert link.decision is None
    assert (call.agent, call.root, call.parent, call.app) == (child.did, first.did, link.id, APP)
    assert call.cid == child.cid
    assert family(world, first) == (link, call)


def test_each_links_parent_is_the_record_of_the_link_before(world: World, did: Did) -> None:
    members = agent_chain(world, did, 8)
    (call,) = world.receipts(members[-1].read("notes/f"))
    known = links(world, members[0])
    assert len(known) == 7
    above = RECEIPT
    for depth, member in enumerate(members[1:], start=1):
        link = known[member.cid]
        assert (link.parent, link.agent) == (above, member.did)
        assert link.detail == {"by": members[depth - 1].did, "depth": depth}
        above = link.id
    assert call.parent == above


def test_a_link_that_inherits_its_constraint_is_recorded_with_it(world: World, did: Did) -> None:
    first = root(world, did(), path="notes/a")
    child = first.delegate(did(), READ, None)
    grandchild = child.delegate(did(), READ, "notes/a/f")
    great = grandchild.delegate(did(), READ, None)
    great.read("notes/a/f")
    known = links(world, first)
    assert known[child.cid].resource == file("notes/a")
    assert known[grandchild.cid].resource == known[great.cid].resource == file("notes/a/f")


def test_a_link_of_no_constraint_at_all_has_no_resource(world: World, did: Did) -> None:
    first = root(world, did(), path=None)
    child = first.delegate(did(), READ, None)
    child.read("notes/f")
    assert links(world, first)[child.cid].resource is None


def test_a_recorded_link_is_not_recorded_again(world: World, did: Did) -> None:
    """Neither for more calls, nor for other branches, nor by a PDP that has just started."""
    first, middle = agent_chain(world, did, 2)
    one, other = middle.delegate(did()), middle.delegate(did())
    for member in (middle, one, other, one):
        assert member.read("notes/f").status_code == 200
    known = links(world, first)
    assert set(known) == {middle.cid, one.cid, other.cid}
    assert known[one.cid].parent == known[other.cid].parent == known[middle.cid].id
    world.store.store.delegations._known.clear()
    (call,) = world.receipts(one.read("notes/f"))
    assert links(world, first) == known
    assert call.parent == known[one.cid].id


def test_a_link_used_concurrently_is_recorded_once(world: World, did: Did) -> None:
    members = agent_chain(world, did, 5)
    holder = members[-1]
    tokens = [holder.token("notes/f") for _ in range(24)]

    def call(token: str) -> httpx.Response:
        return world.call("GET", READ, token, params={"path": "notes/f"})

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(call, tokens))
    assert [each.status_code for each in said] == [200] * 24
    known = links(world, members[0])
    assert len(known) == 4
    parents = {row.parent for each in said for row in world.receipts(each)}
    assert parents == {known[holder.cid].id}


def test_a_writes_parent_is_the_link_and_its_outcomes_parent_the_intent(
    world: World, did: Did
) -> None:
    first, child = agent_chain(world, did, 2)
    intent, outcome = world.receipts(child.write("notes/f", "new"))
    (link,) = links(world, first).values()
    assert (intent.parent, outcome.parent) == (link.id, intent.id)
    assert intent.root == outcome.root == first.did


def test_a_child_that_policy_denies_is_recorded_with_its_root(world: World, did: Did) -> None:
    first = root(world, did(), path=None)
    child = first.delegate(did(), READ, "careful")
    (row,) = world.receipts(child.read("careful/f"))
    assert (row.reason, row.status) == ("step_up_required", 403)
    assert (row.agent, row.root) == (child.did, first.did)
    assert row.parent == links(world, first)[child.cid].id


def test_a_re_issued_root_keeps_its_swarm(world: World, did: Did) -> None:
    """A child that asked for itself holds one delegation, and its family is still its root's."""
    eldest, holder = did(), did()
    lineage = {"root": eldest, "invokedBy": [eldest], "depth": 1, "swarmId": NIGHT}
    again = root(world, holder, meta={"lineage": lineage}, prf=["1" * 64, "2" * 64])
    (row,) = world.receipts(again.read("notes/f"))
    assert (row.agent, row.root, row.parent) == (holder, eldest, RECEIPT)
    child = again.delegate(did())
    child.read("notes/f")
    link = links(world, replace(again, did=eldest))[child.cid]
    assert link.detail == {"by": holder, "depth": 2, "swarm": NIGHT}
    swarms = world.store.store.swarms
    for label in (NIGHT, "night-shift"):
        assert world.run(swarms.roots_of("acme", label)) == (eldest,)
    assert world.run(swarms.roots_of("acme", "shift")) == ()
    assert world.run(swarms.roots_of("acme", child.did)) == (eldest,)


def test_meta_of_a_later_link_is_not_recorded(world: World, did: Did) -> None:
    first = root(world, did())
    claims = {
        "app_id": "app_other",
        "receipt_id": "evt_9123456789abcdefghjkmnpqrs",
        "lineage": {"root": did(), "depth": 0, "swarmId": "mine"},
    }
    child = first.delegate(did(), READ, meta=claims)
    (call,) = world.receipts(child.read("notes/f"))
    link = links(world, first)[child.cid]
    assert (link.app, link.root, link.parent) == (APP, first.did, RECEIPT)
    assert link.detail == {"by": first.did, "depth": 1}
    assert (call.app, call.root) == (APP, first.did)


def test_secrets_in_a_link_are_redacted(world: World, did: Did) -> None:
    secret = "ghp_" + "a1B2" * 9
    first = root(world, did())
    pol = [["or", [["==", ".args.x", secret], ["==", ".cmd", READ]]]]
    child = first.delegate(did(), READ, f"notes/{secret}", pol=pol)
    child.read(f"notes/{secret}")
    assert len(links(world, first)) == 1
    assert secret not in repr(family(world, first))


def test_a_call_is_refused_if_its_link_cannot_be_recorded(world: World, did: Did) -> None:
    _, child = agent_chain(world, did, 2)
    world.store.broken.add("note")
    token = child.token("notes/f", WRITE)
    body = {"path": "notes/f", "content": "new"}
    for said in (child.read("notes/f"), world.call("PUT", WRITE, token, json=body)):
        assert (said.status_code, said.json()["error_code"]) == (503, "unavailable")
        assert "content" not in said.json()
    assert (world.folder / "notes/f").read_text() == "content"
    world.store.reset()
    assert world.call("PUT", WRITE, token, json=body).status_code == 200


# Refused tokens


def test_an_excess_attempt_is_recorded_for_its_agent_if_signatures_are_valid(
    world: World, did: Did
) -> None:
    """With what led to it where only the use of the chain was wrong."""
    first = root(world, did())
    child = first.delegate(did(), READ, "notes/a")
    (row,) = world.receipts(child.read("notes/f"))
    assert (row.decision, row.reason) == ("deny", "resource_out_of_scope")
    assert (row.agent, row.root, row.app) == (child.did, first.did, APP)
    assert (row.command, row.resource) == (READ, file("notes/f"))
    link = links(world, first)[child.cid]
    assert (row.parent, row.cid) == (link.id, child.cid)

    (row,) = world.receipts(child.write("notes/a/f", "x"))
    assert (row.reason, row.agent, row.parent) == (
        "chain_attenuation_violation",
        child.did,
        link.id,
    )


def test_links_of_an_invalid_chain_are_not_recorded(world: World, did: Did) -> None:
    first = root(world, did())
    child = first.delegate(did(), READ, "other")
    (row,) = world.receipts(child.read("other/f"))
    assert row.reason == "chain_attenuation_violation"
    assert (row.agent, row.root) == (child.did, first.did)
    assert (row.parent, row.cid, row.app) == (None, None, None)
    assert links(world, first) == {}


def test_a_sender_with_another_agents_chain_is_recorded_as_itself(world: World, did: Did) -> None:
    """In the family whose chain it has; the chain's holder did nothing."""
    first, child = agent_chain(world, did, 2)
    other_holder = ChainHolder(world, did(), child.links)
    (row,) = world.receipts(other_holder.read("notes/f"))
    assert (row.reason, row.agent, row.root) == ("chain_invalid", other_holder.did, first.did)
    assert (row.parent, row.cid) == (None, None)
    assert links(world, first) == {}


def later(child: ChainHolder, seconds: int) -> str:
    token = child.token("notes/f")
    child.world.now += seconds
    return token


def revoked(child: ChainHolder) -> str:
    child.world.run(store_access.revoke(child.world.store.store, "acme", [child.cid]))
    return child.token("notes/f")


def behind(child: ChainHolder) -> str:
    child.world.view.age = 6
    return child.token("notes/f")


def flipped(child: ChainHolder) -> str:
    head, _, signature = child.token("notes/f").rpartition(".")
    return f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def foreign(child: ChainHolder) -> str:
    link = child.world.grant(READ, file("notes/f"), by="other_issuer", to=child.did)
    return child.token("notes/f", chain=[link.jwt], root="other_issuer")


def too_deep(child: ChainHolder) -> str:
    return child.token("notes/f", chain=child.chain * 5)


SIGNED: dict[str, Callable[[ChainHolder], str]] = {
    "expired": lambda child: later(child, 60),
    "not_yet_valid": lambda child: later(child, -61),
    "revoked": revoked,
    "revocations_stale": behind,
    "audience_mismatch": lambda child: child.token("notes/f", at="stranger"),
    "resource_mismatch": lambda child: child.token("notes/a/f"),
    "chain_invalid": lambda child: child.token("notes/f", chain=child.chain[:1]),
}
UNPROVEN: dict[str, Callable[[ChainHolder], str]] = {
    "malformed_ucan": lambda _: "abc.def.ghi",
    "bad_signature": flipped,
    "chain_too_deep": too_deep,
    "untrusted_issuer": foreign,
    "chain_invalid": lambda child: child.token("notes/f", chain=[]),
}


def refused(world: World, token: str) -> Record:
    """The one record of a token that is refused."""
    (row,) = world.receipts(world.call("GET", READ, token, params={"path": "notes/f"}))
    assert row.decision == "deny"
    return row


@pytest.mark.parametrize("code", SIGNED)
def test_a_fully_signed_refused_token_is_recorded_with_its_agent(
    world: World, did: Did, code: str
) -> None:
    first, child = agent_chain(world, did, 2)
    row = refused(world, SIGNED[code](child))
    assert (row.reason, row.agent, row.root) == (code, child.did, first.did)


@pytest.mark.parametrize("code", UNPROVEN)
def test_other_refused_tokens_are_recorded_without_an_agent(
    world: World, did: Did, code: str
) -> None:
    row = refused(world, UNPROVEN[code](agent_chain(world, did, 2)[1]))
    assert (row.reason, row.agent, row.root, row.parent) == (code, None, None, None)


def test_a_forgery_is_recorded_without_an_agent_while_revocations_are_unavailable(
    world: World, did: Did
) -> None:
    """Not to know who is revoked does not make a signature good."""
    _, child = agent_chain(world, did, 2)
    world.store.broken.add("revoked")
    row = refused(world, flipped(child))
    assert (row.reason, row.agent, row.root) == ("bad_signature", None, None)
    said = child.read("notes/f")
    (row,) = world.receipts(said)
    assert (said.status_code, row.reason) == (503, "revocations_stale")
    assert "cannot be looked up" in said.json()["error"]
    assert row.agent == child.did


def test_a_refused_token_is_recorded_even_if_its_links_cannot_be(world: World, did: Did) -> None:
    first = root(world, did())
    child = first.delegate(did(), READ, "notes/a")
    world.store.broken.add("note")
    said = child.read("notes/f")
    assert (said.status_code, said.json()["error_code"]) == (403, "resource_out_of_scope")
    (row,) = world.receipts(said)
    assert (row.agent, row.root, row.parent) == (child.did, first.did, None)


def serve(world: World, gate: Gate, tokens: list[str]) -> None:
    """Put tokens before a gate, which refuses each of them."""

    async def body(cap: int) -> bytes:
        return b""

    async def flood() -> None:
        for token in tokens:
            with pytest.raises(PdpError):
                await gate.serve(
                    PdpRequest("GET", READ, b"path=x", (f"Bearer {token}",), None, body, "flood")
                )

    world.run(flood())


def test_many_unproven_tokens_do_not_suppress_records_of_a_child(world: World, did: Did) -> None:
    first = root(world, did())
    child = first.delegate(did(), READ, "notes/a")
    gate = Gate(replace(world.ports, limits=PdpLimits(unproven_receipts_per_minute=3)))
    serve(world, gate, ["a.b.c"] * 5)
    serve(world, gate, [child.token("notes/f") for _ in range(5)])
    world.run(gate.close())
    tried = [row for row in family(world, first) if row.kind == "call" and row.act is None]
    assert [row.agent for row in tried] == [child.did] * 3


def test_a_refused_token_is_recorded_for_its_issuers_tenant(world: World, did: Did) -> None:
    """`sub` names another tenant's issuer, and that tenant gets no record."""
    both = {world.dids["issuer"]: "acme", world.dids["other_issuer"]: "other"}
    gate = Gate(replace(world.ports, trusted_issuers=both))
    first = root(world, did())
    serve(world, gate, [first.token("notes/f", root="other_issuer")])
    world.run(gate.close())
    (row,) = family(world, first)
    assert (row.tenant, row.reason, row.agent) == ("acme", "chain_invalid", first.did)
    assert family(world, first, "other") == ()
    assert world.run(store_access.receipts(world.store.store, "other")) == ()
