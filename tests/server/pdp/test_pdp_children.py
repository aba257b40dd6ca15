"""Calls of children: accepted within their delegation, refused beyond it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import store_access
from server.pdp.unchecked_chains import FILES, READ, WRITE, ChainHolder, agent_chain, file, root

from nomos.server.storage.shares import NonceShares

if TYPE_CHECKING:
    from server.pdp.conftest import World

Did = Callable[[], str]


@pytest.fixture(autouse=True)
def notes(world: World) -> None:
    for folder in (
        *("notes", "notes/a", "other", "roots", "careful", "secret"),
        *("crew", "kept", "clean", "pinned"),
    ):
        (world.folder / folder).mkdir()
        (world.folder / folder / "f").write_text(f"{folder} is read")


def result_of(said: httpx.Response) -> tuple[int, str | None, int | None]:
    """The status, code and hop of an answer that gives nothing away unless it is an allow."""
    body = said.json()
    assert said.status_code == 200 or "is read" not in said.text
    return said.status_code, body.get("error_code"), body.get("hop")


ALLOWED = (200, None, None)


# What a child may do


@pytest.mark.parametrize("depth", range(1, 9))
def test_a_chain_beyond_the_depth_limit_is_refused(world: World, did: Did, depth: int) -> None:
    holder = agent_chain(world, did, depth)[-1]
    assert result_of(holder.read("notes/f")) == ALLOWED
    said = holder.write("notes/f", "new")
    assert said.status_code == 200, said.text
    assert (world.folder / "notes/f").read_text() == "new"
    (world.folder / "notes/f").write_text("is read")
    if depth == 8:
        deeper = holder.delegate(did())
        assert result_of(deeper.read("notes/f"))[:2] == (401, "chain_too_deep")


def test_lineage_counts_towards_the_depth(world: World, did: Did) -> None:
    """A root that took the place of seven links leaves room for one."""
    lineage = {"root": did(), "invokedBy": [], "depth": 6}
    first = root(world, did(), meta={"lineage": lineage}, prf=["0" * 64] * 6)
    second = first.delegate(did(), FILES)
    assert result_of(second.read("notes/f")) == ALLOWED
    assert result_of(second.delegate(did()).read("notes/f"))[:2] == (401, "chain_too_deep")


def test_a_write_works_once_for_each_token_of_a_child(world: World, did: Did) -> None:
    child = agent_chain(world, did, 2)[-1]
    token = child.token("notes/new", WRITE)
    for content, expected in (("first", 200), ("second", 401)):
        said = world.call("PUT", WRITE, token, json={"path": "notes/new", "content": content})
        assert said.status_code == expected
    assert said.json()["error_code"] == "replayed"
    assert (world.folder / "notes/new").read_text() == "first"


def test_an_app_with_many_children_does_not_fill_the_replay_store(
    world: World, did: Did, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.store.store, "_shares", NonceShares(2))
    app = {"app_id": f"app_{'7' * 26}"}
    parent, other = root(world, did(), meta=app), root(world, did(), meta={"app_id": "app_other"})
    written = [parent.delegate(did(), FILES).write("notes/f", "is read") for _ in range(3)]
    assert [result_of(said) for said in written] == [ALLOWED, ALLOWED, (503, "unavailable", None)]
    assert "this app, with all its agents," in written[-1].text
    assert result_of(other.delegate(did(), FILES).write("notes/f", "is read")) == ALLOWED


def test_a_child_reads_within_its_delegation_only(world: World, did: Did) -> None:
    parent = root(world, did())
    child = parent.delegate(did(), READ, "notes/a")
    assert result_of(child.read("notes/a/f")) == ALLOWED
    assert result_of(child.read("notes/f")) == (403, "resource_out_of_scope", 2)
    assert result_of(parent.read("notes/f")) == ALLOWED


def test_a_link_without_a_constraint_inherits_that_of_its_parent(world: World, did: Did) -> None:
    child = root(world, did(), path="notes/a").delegate(did(), READ, None)
    assert result_of(child.read("notes/a/f")) == ALLOWED
    assert result_of(child.read("notes/f")) == (403, "resource_out_of_scope", 2)


def test_every_pol_of_every_link_is_enforced(world: World, did: Did) -> None:
    """Narrowed by an ancestor to what it reads, a grandchild cannot write again."""
    narrow = [["==", ".cmd", READ]]
    grandchild = root(world, did()).delegate(did(), FILES, pol=narrow).delegate(did(), FILES)
    assert result_of(grandchild.read("notes/f")) == ALLOWED
    assert result_of(grandchild.write("notes/f", "x")) == (403, "resource_out_of_scope", 1)


def test_a_pol_on_arguments_is_enforced_for_unsigned_arguments(world: World, did: Did) -> None:
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    pol = [["==", ".args.content", {"sha256": digest}]]
    child = root(world, did()).delegate(did(), WRITE, pol=pol)
    signed = {"content": {"sha256": digest}}
    assert result_of(child.write("notes/f", "x", args=signed)) == ALLOWED
    assert result_of(child.write("notes/f", "y", args=signed)) == (403, "resource_mismatch", 2)
    assert result_of(child.write("notes/f", "y")) == (403, "resource_out_of_scope", 1)
    assert (world.folder / "notes/f").read_text() == "x"


def test_a_prefix_covers_the_commands_listed_in_its_pol(world: World, did: Did) -> None:
    listed = [["or", [["==", ".cmd", READ], ["==", ".cmd", "/filesystem/dir/list"]]]]
    agent = root(world, did(), "/filesystem", pol=listed)
    for holder in (agent, agent.delegate(did(), "/filesystem")):
        assert result_of(holder.read("notes/f")) == ALLOWED
        assert result_of(holder.write("notes/f", "x")) == (403, "resource_out_of_scope", 0)


# What a child tries


def _expiring_later(parent: ChainHolder, did: Did) -> httpx.Response:
    return parent.delegate(did(), READ, "notes/a", ttl=301).read("notes/a/f")


def _outliving_its_link(parent: ChainHolder, did: Did) -> httpx.Response:
    return parent.delegate(did(), READ, "notes/a", ttl=30).read("notes/a/f", ttl=31)


def _without_the_middle(parent: ChainHolder, did: Did) -> httpx.Response:
    child = parent.delegate(did(), READ, "notes/a")
    grandchild = child.delegate(did(), READ, "notes/a")
    return grandchild.read("notes/a/f", chain=[grandchild.chain[0], grandchild.chain[2]])


def _without_the_root(parent: ChainHolder, did: Did) -> httpx.Response:
    child = parent.delegate(did(), READ, "notes/a")
    return child.read("notes/a/f", chain=child.chain[1:])


def _without_the_root_in_its_own_name(parent: ChainHolder, did: Did) -> httpx.Response:
    """The parent plays the issuer."""
    to = did()
    own = parent.world.grant(READ, file("notes"), by=parent.did, to=to)
    return ChainHolder(parent.world, to, (own,)).read("notes/f", root=parent.did)


def _without_the_last_link(parent: ChainHolder, did: Did) -> httpx.Response:
    child = parent.delegate(did(), READ, "notes/a")
    return child.read("notes/f", chain=child.chain[:-1])


def _swapped(parent: ChainHolder, did: Did) -> httpx.Response:
    grandchild = parent.delegate(did(), READ, "notes/a").delegate(did(), READ, "notes/a")
    first, second, third = grandchild.chain
    return grandchild.read("notes/a/f", chain=[first, third, second])


def _on_a_wider_root(parent: ChainHolder, did: Did) -> httpx.Response:
    """Its own link, behind another root that was given to the same parent."""
    child = parent.delegate(did(), READ, "notes/a")
    wider = root(parent.world, parent.did, "/filesystem", None)
    return child.read("other/f", chain=[wider.chain[0], child.chain[1]])


def _a_siblings(parent: ChainHolder, did: Did) -> httpx.Response:
    sibling, child = parent.delegate(did(), READ, "notes"), parent.delegate(did(), READ, "notes/a")
    return child.read("notes/f", chain=sibling.chain)


def _a_siblings_link_under_its_own(parent: ChainHolder, did: Did) -> httpx.Response:
    sibling, child = parent.delegate(did(), READ, "notes"), parent.delegate(did(), READ, "notes/a")
    return child.read("notes/f", chain=[*child.chain, sibling.chain[1]])


def _the_parents(parent: ChainHolder, did: Did) -> httpx.Response:
    return parent.delegate(did(), READ, "notes/a").read("notes/f", chain=parent.chain)


def _no_chain(parent: ChainHolder, did: Did) -> httpx.Response:
    return parent.delegate(did(), READ, "notes/a").read("notes/a/f", chain=[])


def _linked_elsewhere(parent: ChainHolder, did: Did) -> httpx.Response:
    return parent.delegate(did(), READ, "notes/a", prf=["0" * 64]).read("notes/a/f")


def _by_itself(parent: ChainHolder, did: Did) -> httpx.Response:
    """A link that the child signed for itself, as if it were the parent's."""
    child = parent.delegate(did(), READ, "notes/a")
    forged = parent.world.grant(READ, file("notes"), by=child.did, to=child.did, prf=[parent.cid])
    return child.read("notes/f", chain=[parent.chain[0], forged.jwt])


def _of_another_subject(parent: ChainHolder, did: Did) -> httpx.Response:
    return parent.delegate(did(), READ, "notes/a").read("notes/a/f", root="agent")


ATTACKS: dict[
    str, tuple[Callable[[ChainHolder, Did], httpx.Response], tuple[int, str, int | None]]
] = {
    "a wider command, signed": (
        lambda parent, did: parent.delegate(did(), READ, "notes/a").write("notes/a/f", "x"),
        (401, "chain_attenuation_violation", 2),
    ),
    "a wider command, handed on": (
        lambda parent, did: parent.delegate(did(), READ).delegate(did(), FILES).read("notes/a/f"),
        (401, "chain_attenuation_violation", 2),
    ),
    "a command that only begins the same": (
        lambda parent, did: parent.delegate(did(), "/filesystem/files").read("notes/a/f"),
        (401, "chain_attenuation_violation", 1),
    ),
    "a wider resource, signed": (
        lambda parent, did: parent.delegate(did(), READ, "notes/a").read("notes/f"),
        (403, "resource_out_of_scope", 2),
    ),
    "a wider resource, handed on": (
        lambda parent, did: (
            parent.delegate(did(), READ, "notes/a").delegate(did(), READ, "notes").read("notes/a/f")
        ),
        (401, "chain_attenuation_violation", 2),
    ),
    "another resource, handed on": (
        lambda parent, did: parent.delegate(did(), READ, "other").read("other/f"),
        (401, "chain_attenuation_violation", 1),
    ),
    "a path that only begins the same": (
        lambda parent, did: parent.delegate(did(), READ, "notes2").read("notes2/f"),
        (401, "chain_attenuation_violation", 1),
    ),
    "a constraint dropped": (
        lambda parent, did: (
            parent.delegate(did(), READ, "notes/a").delegate(did(), READ, None).read("notes/f")
        ),
        (403, "resource_out_of_scope", 3),
    ),
    "an empty constraint": (
        lambda parent, did: parent.delegate(
            did(), READ, None, meta={"resource_constraint": {}}
        ).read("notes/f"),
        (401, "chain_attenuation_violation", 1),
    ),
    "a later expiry, handed on": (_expiring_later, (401, "chain_attenuation_violation", 1)),
    "a later expiry, signed": (_outliving_its_link, (401, "chain_attenuation_violation", 2)),
    "an earlier beginning": (
        lambda parent, did: parent.delegate(
            did(), READ, "notes/a", nbf=int(parent.world.now) - 61
        ).read("notes/a/f"),
        (401, "chain_attenuation_violation", 1),
    ),
    "an ancestor dropped": (_without_the_middle, (401, "chain_invalid", 1)),
    "the root dropped": (_without_the_root, (401, "chain_invalid", 0)),
    "the parent as issuer": (_without_the_root_in_its_own_name, (401, "untrusted_issuer", 0)),
    "its own link dropped": (_without_the_last_link, (401, "chain_invalid", 1)),
    "links swapped": (_swapped, (401, "chain_invalid", 1)),
    "its link on a wider root": (_on_a_wider_root, (401, "chain_invalid", 1)),
    "a sibling's chain": (_a_siblings, (401, "chain_invalid", 2)),
    "a sibling's link below its own": (_a_siblings_link_under_its_own, (401, "chain_invalid", 2)),
    "the parent's chain": (_the_parents, (401, "chain_invalid", 1)),
    "no chain at all": (_no_chain, (401, "chain_invalid", None)),
    "a link to nothing": (_linked_elsewhere, (401, "chain_invalid", 1)),
    "a link by itself": (_by_itself, (401, "chain_invalid", 1)),
    "another root in sub": (_of_another_subject, (401, "chain_invalid", 2)),
}


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_a_child_cannot_exceed_its_delegation(world: World, did: Did, name: str) -> None:
    attack, expected = ATTACKS[name]
    assert result_of(attack(root(world, did()), did)) == expected


def approved(world: World, did: str, path: str) -> ChainHolder:
    meta = {
        "approval": {
            "id": "env_1123456789abcdefghjkmnpqrs",
            "fingerprint": "0" * 64,
            "roles": ["lead"],
        },
        "audience": world.dids["pdp"],
    }
    pol = [["==", ".cmd", READ], ["==", ".resource", file(path)]]
    return root(world, did, READ, path, meta=meta, pol=pol)


def test_a_parents_approval_cannot_be_delegated(world: World, did: Did) -> None:
    parent = approved(world, did(), "careful/f")
    child = parent.delegate(did(), READ, "careful/f")
    assert result_of(child.read("careful/f")) == (401, "chain_invalid", 1)
    assert result_of(child.read("careful/f", chain=parent.chain)) == (401, "chain_invalid", 1)
    assert result_of(parent.read("careful/f")) == ALLOWED


def test_a_child_cannot_write_an_approval_into_its_link(world: World, did: Did) -> None:
    meta = {"approval": {"id": "env_1", "fingerprint": "0" * 64, "roles": ["lead"]}}
    child = root(world, did(), path=None).delegate(did(), READ, "careful", meta=meta)
    assert result_of(child.read("careful/f")) == (403, "step_up_required", None)


# What policy says of children


def test_an_offline_child_is_refused_where_policy_requires_approval(world: World, did: Did) -> None:
    child = root(world, did(), path=None).delegate(did(), READ, "careful")
    assert result_of(child.read("careful/f")) == (403, "step_up_required", None)


def test_a_chain_does_not_override_policy(world: World, did: Did) -> None:
    child = root(world, did(), path=None).delegate(did(), READ, None)
    assert result_of(child.read("secret/f")) == (403, "policy_denied", None)
    assert result_of(child.read("other/f")) == ALLOWED


def test_a_child_cannot_pose_as_a_root(world: World, did: Did) -> None:
    """Policy sees the issuer's word for how deep a chain is, and none of a link's."""
    me = did()
    claims = {"lineage": {"root": me, "invokedBy": [], "depth": 0}, "app_id": "app_other"}
    parent = root(world, did(), path=None)
    assert result_of(parent.read("roots/f")) == ALLOWED
    for meta in ({}, claims):
        child = parent.delegate(me, READ, "roots", meta=meta)
        assert result_of(child.read("roots/f")) == (403, "policy_denied", None)
    again = root(world, did(), path=None, meta={"lineage": {"root": did(), "depth": 1}})
    assert result_of(again.read("roots/f")) == (403, "policy_denied", None)


def test_policy_sees_the_swarm(world: World, did: Did) -> None:
    """Its label as the issuer signed it, or the receipt it began with; none for a root agent."""
    label = "app_1123456789abcdefghjkmnpqrs/crew"
    crew = {"lineage": {"root": did(), "depth": 0, "swarmId": label}}
    bare = {"lineage": {"root": did(), "depth": 0, "swarmId": "crew"}}
    nameless, named = root(world, did(), path=None), root(world, did(), path=None, meta=crew)
    mine = {"lineage": {"root": did(), "depth": 0, "swarmId": label}}
    impostor = nameless.delegate(did(), READ, None, meta=mine)
    child, other = named.delegate(did(), READ, None), nameless.delegate(did(), READ, None)
    assert result_of(named.read("crew/f")) == result_of(child.read("crew/f")) == ALLOWED
    unnamed = root(world, did(), path=None, meta=bare)
    for agent in (nameless, other, impostor, unnamed):
        assert result_of(agent.read("crew/f")) == (403, "policy_denied", None)
    assert result_of(nameless.read("kept/f")) == ALLOWED
    assert result_of(other.read("kept/f")) == (403, "policy_denied", None)


def test_policy_sees_every_ancestor(world: World, did: Did) -> None:
    unrelated = world.dids["stranger"]
    world.dids = {**world.dids, unrelated: unrelated}
    clean = root(world, did(), path=None).delegate(did(), READ, None)
    assert result_of(clean.read("clean/f")) == ALLOWED
    assert result_of(clean.read("pinned/f")) == (403, "policy_denied", None)
    through = (
        root(world, did(), path=None).delegate(unrelated, READ, None).delegate(did(), READ, None)
    )
    assert result_of(through.read("clean/f")) == (403, "policy_denied", None)
    before = {"lineage": {"root": unrelated, "invokedBy": [unrelated], "depth": 1}}
    again = root(world, did(), path=None, meta=before)
    assert result_of(again.read("clean/f")) == (403, "policy_denied", None)
    pinned = root(world, unrelated, path=None)
    for agent in (pinned, pinned.delegate(did(), READ, None), again.delegate(did(), READ, None)):
        assert result_of(agent.read("pinned/f")) == ALLOWED


# What stops them


@pytest.mark.parametrize("what", ["root", "middle", "leaf", "root agent", "parent", "itself"])
def test_revoking_a_branch_does_not_affect_its_sibling(world: World, did: Did, what: str) -> None:
    first = root(world, did())
    middle, sibling = first.delegate(did(), FILES), first.delegate(did(), FILES)
    leaf = middle.delegate(did(), READ, "notes/a")
    assert result_of(leaf.read("notes/a/f")) == result_of(sibling.read("notes/f")) == ALLOWED
    revoked = {
        "root": first.cid,
        "middle": middle.cid,
        "leaf": leaf.cid,
        "root agent": first.did,
        "parent": middle.did,
        "itself": leaf.did,
    }
    world.run(store_access.revoke(world.store.store, "acme", [revoked[what]]))
    assert result_of(leaf.read("notes/a/f"))[:2] == (401, "revoked")
    whole = what in ("root", "root agent")
    assert (result_of(sibling.read("notes/f"))[:2] == (401, "revoked")) == whole
    assert (result_of(middle.read("notes/f"))[:2] == (401, "revoked")) == (
        whole or what in ("middle", "parent")
    )


def test_a_link_expires_at_its_exp(world: World, did: Did) -> None:
    parent = root(world, did())
    child = parent.delegate(did(), READ, "notes/a", ttl=30)
    token = child.token("notes/a/f", ttl=30)
    world.now += 30
    said = world.call("GET", READ, token, params={"path": "notes/a/f"})
    assert result_of(said) == (401, "expired", 1)
    assert result_of(parent.read("notes/f")) == ALLOWED


def test_a_link_with_a_changed_signature_is_refused(world: World, did: Did) -> None:
    """A link whose text is changed is no longer its parent's."""
    child = root(world, did()).delegate(did(), READ, "notes/a")
    head, _, signature = child.chain[1].rpartition(".")
    broken: Any = f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    said = child.read("notes/a/f", chain=[child.chain[0], broken])
    assert result_of(said) == (401, "bad_signature", 1)
