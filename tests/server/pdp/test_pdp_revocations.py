"""A token is refused if anything that it names is revoked, or if the view is stale."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import store_access

if TYPE_CHECKING:
    from server.pdp.conftest import World

READ = "/filesystem/file/read"
TENANT = "acme"
ENVELOPE, APP = "env_1123456789abcdefghjkmnpqrs", "app_1123456789abcdefghjkmnpqrs"


def file(path: str) -> dict[str, str]:
    return {"provider": "filesystem", "path": path}


@pytest.fixture(autouse=True)
def note(world: World) -> None:
    (world.folder / "f").write_text("hello")


def result_of(said: httpx.Response) -> tuple[int, str | None]:
    return said.status_code, said.json().get("error_code")


def call(world: World, chain: Sequence[str], by: str, root: str = "issuer") -> httpx.Response:
    token = world.invoke(READ, file("f"), {}, chain, by=by, root=root)
    return world.call("GET", READ, token, params={"path": "f"})


def revoke(world: World, ident: str) -> None:
    world.run(store_access.revoke(world.store.store, TENANT, [ident]))


def family(world: World, did: Callable[[], str], depth: int) -> tuple[list[Any], list[str]]:
    """A chain of `depth` delegations, and who holds each of them."""
    holders = [did() for _ in range(depth)]
    links = [world.grant(READ, file("f"), to=holders[0], meta={"app_id": APP})]
    for delegator, taker in itertools.pairwise(holders):
        links.append(world.grant(READ, file("f"), by=delegator, to=taker, prf=[links[-1].cid]))
    return links, holders


@pytest.mark.parametrize(("depth", "which"), [(d, w) for d in (1, 2, 4) for w in range(d)])
@pytest.mark.parametrize("kind", ["cid", "agent"])
def test_all_descendants_of_a_revoked_link_are_refused(
    world: World, did: Callable[[], str], kind: str, depth: int, which: int
) -> None:
    """And what comes before it in the chain is not."""
    links, holders = family(world, did, depth)
    tokens = [link.jwt for link in links]
    assert all(
        call(world, tokens[: length + 1], by=holders[length]).status_code == 200
        for length in range(depth)
    )
    revoke(world, links[which].cid if kind == "cid" else holders[which])
    for length in range(depth):
        said = result_of(call(world, tokens[: length + 1], by=holders[length]))
        assert said == ((401, "revoked") if length >= which else (200, None))


def test_tokens_of_a_revoked_app_are_refused(world: World, did: Callable[[], str]) -> None:
    app = "app_2123456789abcdefghjkmnpqrs"
    holder, child = did(), did()
    root = world.grant(READ, file("f"), to=holder, meta={"app_id": app})
    link = world.grant(READ, file("f"), by=holder, to=child, prf=[root.cid])
    assert call(world, [root.jwt, link.jwt], by=child).status_code == 200
    revoke(world, app)
    for chain, by in (([root.jwt], holder), ([root.jwt, link.jwt], child)):
        said = call(world, chain, by=by)
        assert result_of(said) == (401, "revoked")
        assert "the app" in said.json()["error"]


def test_a_link_cannot_name_another_app(world: World, did: Callable[[], str]) -> None:
    """Whose a token is the issuer says; what a holder writes below changes nothing."""
    holder, child = did(), did()
    root = world.grant(READ, file("f"), to=holder, meta={"app_id": ENVELOPE})
    link = world.grant(
        READ, file("f"), by=holder, to=child, prf=[root.cid], meta={"app_id": "app_free"}
    )
    revoke(world, ENVELOPE)
    assert result_of(call(world, [root.jwt, link.jwt], by=child)) == (401, "revoked")


def test_tokens_of_a_revoked_approval_are_refused(world: World, did: Callable[[], str]) -> None:
    holder, envelope = did(), "env_2123456789abcdefghjkmnpqrs"
    root = world.grant(
        READ,
        file("f"),
        to=holder,
        pol=[["==", ".cmd", READ], ["==", ".resource", file("f")]],
        meta={
            "approval": {"id": envelope, "fingerprint": "00" * 32},
            "audience": world.dids["pdp"],
        },
    )
    revoke(world, envelope)
    assert result_of(call(world, [root.jwt], by=holder)) == (401, "revoked")


def test_tokens_of_a_revoked_issuer_are_refused(world: World, did: Callable[[], str]) -> None:
    issuer, holder = did(), did()
    trusted = world.ports.trusted_issuers
    assert isinstance(trusted, dict)
    trusted[issuer] = TENANT
    try:
        root = world.grant(READ, file("f"), by=issuer, to=holder)
        assert call(world, [root.jwt], by=holder, root=issuer).status_code == 200
        revoke(world, issuer)
        assert result_of(call(world, [root.jwt], by=holder, root=issuer)) == (401, "revoked")
    finally:
        del trusted[issuer]


@pytest.mark.parametrize(
    "lineage",
    [
        lambda ancestor: {"root": ancestor, "depth": 2},
        lambda ancestor: {"root": "did:key:zOther", "invokedBy": ["did:key:zOther", ancestor]},
    ],
    ids=["root", "between"],
)
def test_a_childs_grant_is_revoked_with_its_ancestors(
    world: World, did: Callable[[], str], lineage: Callable[[str], Mapping[str, Any]]
) -> None:
    """Asked for by a child itself, it is one delegation, and its lineage is in its meta."""
    ancestor, holder = did(), did()
    root = world.grant(READ, file("f"), to=holder, meta={"lineage": dict(lineage(ancestor))})
    assert call(world, [root.jwt], by=holder).status_code == 200
    revoke(world, ancestor)
    assert result_of(call(world, [root.jwt], by=holder)) == (401, "revoked")


@pytest.mark.parametrize("odd", [["x"], {"a": 1}, 7, [7, None, {"b": [2]}]], ids=str)
def test_malformed_meta_is_not_looked_up(world: World, did: Callable[[], str], odd: object) -> None:
    holder = did()
    for meta in ({"app_id": odd}, {"lineage": {"root": odd}}, {"lineage": {"invokedBy": odd}}):
        root = world.grant(READ, file("f"), to=holder, meta=meta)
        assert call(world, [root.jwt], by=holder).status_code == 200


# How old the view may be


@pytest.mark.parametrize(("age", "status"), [(0, 200), (5, 200), (6, 503), (2**31 - 1, 503)])
def test_a_stale_view_refuses_every_call(world: World, age: int, status: int) -> None:
    world.view.age = age
    said = world.read("f")
    assert said.status_code == status
    ready = world.call("GET", "/readyz", None)
    assert ready.status_code == status
    if status == 503:
        assert result_of(said) == (503, "revocations_stale")
        assert str(age) in said.json()["error"]
        assert str(age) in ready.json()["error"]


def test_a_refusal_has_the_error_of_the_view(world: World) -> None:
    world.view.age, world.view.error = 9, "the feed is cut off since noon"
    assert world.read("f").json()["error"] == "the feed is cut off since noon"
    assert world.call("GET", "/readyz", None).json()["error"] == "the feed is cut off since noon"


def test_a_known_revocation_is_reported_by_a_stale_view(
    world: World, did: Callable[[], str]
) -> None:
    holder = did()
    root = world.grant(READ, file("f"), to=holder)
    revoke(world, root.cid)
    world.view.age = 100
    assert result_of(call(world, [root.jwt], by=holder)) == (401, "revoked")


def test_a_failing_view_refuses_every_call(world: World) -> None:
    world.store.broken.add("revoked")
    assert result_of(world.read("f")) == (503, "revocations_stale")
    assert world.call("GET", "/readyz", None).status_code == 503
