"""Lineage of a chain: identifiers to look up, ancestors, and records."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from nomos._core.unverified import UnverifiedChain, UnverifiedLink, UnverifiedToken
from nomos._core.verification import SIGNED
from nomos._protocol import Verified
from nomos.audit.record import Record
from nomos.server.domain.lineage import (
    delegation_records,
    lineage_of,
    sender,
)
from nomos.server.pdp.statuses import STATUS_BY_REASON
from nomos.server.storage.records import new_receipt_id

RECEIPT = "evt_1123456789abcdefghjkmnpqrs"
ISSUER = "did:key:issuer"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def link(
    iss: str, aud: str, meta: Mapping[str, Any] | None = None, prf: Sequence[str] = (), **more: Any
) -> UnverifiedLink:
    payload = {"iss": iss, "aud": aud, "cmd": "/x/y", "pol": [], "nonce": "n", "nbf": 0, "exp": 9}
    named = {"prf": list(prf)} if prf else {}
    return UnverifiedLink(
        sha(f"{iss} {aud} {meta}"), {**payload, **named, "meta": dict(meta or {}), **more}
    )


def invocation(iss: str, links: Sequence[UnverifiedLink]) -> UnverifiedToken:
    payload = {"iss": iss, "aud": "did:key:pdp", "prf": ["a.b.c"] * len(links)}
    return UnverifiedToken(chain=tuple(links), cid=sha(iss), payload=payload)


def verified(links: Sequence[UnverifiedLink], depth: int | None = None) -> Verified:
    return Verified(
        id=0,
        agent=f"did:key:z6Mk{'1' * 44}",
        root=f"did:key:z6Mk{'2' * 44}",
        cmd="/x/y",
        depth=len(links) if depth is None else depth,
        cids=[each.cid for each in links],
        lineage=[],
        expires_at=9,
        meta=links[0].payload["meta"],
    )


def chain(*holders: str, meta: Mapping[str, Any] | None = None) -> list[UnverifiedLink]:
    """The issuer gives to the first, who gives to the next, and so on."""
    given = {"app_id": "app_1", "receipt_id": RECEIPT, **(meta or {})}
    links = [link(ISSUER, holders[0], given)]
    for delegator, taker in itertools.pairwise(holders):
        links.append(link(delegator, taker))
    return links


# What must not be revoked


def test_every_identifier_of_a_token_is_looked_up() -> None:
    lineage = {"root": "eldest", "invokedBy": ["one", "two"], "apps": ["app_2"], "depth": 2}
    links = [
        link(ISSUER, "a", {"app_id": "app_1", "approval": {"id": "env_1"}, "lineage": lineage}),
        link("a", "b", prf=["f" * 64]),
    ]
    invoked = invocation("b", links)
    found = invoked.ids()
    assert found == {
        *(ISSUER, "a", "b", "did:key:pdp", "app_1", "app_2", "env_1", "eldest", "one", "two"),
        *(invoked.cid, links[0].cid, links[1].cid, "f" * 64),
    }


def test_identifiers_in_meta_of_later_links_are_not_looked_up() -> None:
    claims = {"app_id": "app_x", "lineage": {"root": "x", "invokedBy": ["y"], "apps": ["z"]}}
    links = [*chain("a"), link("a", "b", claims)]
    assert not UnverifiedChain(tuple(links)).ids() & {"app_x", "x", "y", "z"}


@pytest.mark.parametrize("odd", [None, 7, "x", [1], {"a": 1}, [None, {"b": 2}]], ids=repr)
def test_malformed_meta_is_ignored(odd: object) -> None:
    for meta in (
        {"lineage": odd},
        {"approval": odd, "app_id": odd},
        {"lineage": {"root": odd, "invokedBy": odd, "apps": odd, "swarmId": odd}},
        {"receipt_id": odd},
    ):
        links = [link(ISSUER, "a", meta)]
        assert UnverifiedChain(tuple(links)).ids() <= {ISSUER, "a", links[0].cid, "x"}
        found = lineage_of(verified(links), links)
        assert found.root in ("a", "x")
        assert found.receipt is None


CREW = "app_1123456789abcdefghjkmnpqrs/crew"
BARE = (
    "crew",
    "/crew",
    "app_1/crew",
    CREW + "/b",
    CREW + "\n",
    "app_1123456789abcdefghjkmnpqrs/",
    "app_01m7abcdefghjkmnpqrstvwxyz/a b",
)
"""Labels that name no app: they could be anybody's."""


# Who stands behind it


def test_a_root_agent_has_no_ancestors() -> None:
    links = chain("a")
    found = lineage_of(verified(links), links)
    assert (found.root, found.invoked_by, found.depth, found.swarm) == ("a", (), 0, None)
    assert (found.app, found.receipt) == ("app_1", RECEIPT)


def test_a_childs_ancestors_are_all_agents_of_its_chain() -> None:
    links = chain("a", "c", "b")
    found = lineage_of(verified(links), links)
    assert (found.root, found.invoked_by, found.depth) == ("a", ("a", "c"), 2)
    assert found.swarm == RECEIPT
    assert found.cids == tuple(each.cid for each in links)


def test_a_re_issued_root_keeps_its_lineage() -> None:
    lineage = {"root": "a", "invokedBy": ["a", "b"], "depth": 2, "swarmId": CREW}
    links = chain("c", "d", meta={"lineage": lineage})
    found = lineage_of(verified(links, depth=4), links)
    assert (found.root, found.invoked_by, found.depth) == ("a", ("a", "b", "c"), 3)
    assert found.swarm == CREW


# What is recorded of links


def recorded(links: list[UnverifiedLink]) -> tuple[Record, ...]:
    return delegation_records("acme", lineage_of(verified(links), links), links, 7, new_receipt_id)


def test_the_issuers_own_link_is_not_recorded() -> None:
    links = chain("a")
    assert recorded(links) == ()


def test_each_link_is_recorded_after_the_one_before_it() -> None:
    links = chain("a", "b", "c")
    first, second = delegation_records(
        "acme", lineage_of(verified(links), links), links, 7, new_receipt_id
    )
    assert (first.agent, first.detail) == ("b", {"by": "a", "depth": 1})
    assert (second.agent, second.detail) == ("c", {"by": "b", "depth": 2})
    assert (first.parent, second.parent) == (RECEIPT, first.id)
    assert {first.root, second.root} == {"a"}
    assert {first.app, second.app} == {"app_1"}
    assert (first.at, first.tenant, first.expires_at) == (7, "acme", 9)


def test_a_link_is_recorded_with_its_inherited_resource() -> None:
    wide, narrow = {"provider": "p"}, {"provider": "p", "path": "a"}
    links = [
        link(ISSUER, "a", {"resource_constraint": wide}),
        link("a", "b"),
        link("b", "c", {"resource_constraint": narrow}),
        link("c", "d", pol=[["==", ".cmd", "/x/y"]]),
    ]
    found = recorded(links)
    assert [row.resource for row in found] == [wide, narrow, narrow]
    assert [row.detail.get("pol") for row in found] == [None, None, [["==", ".cmd", "/x/y"]]]


def test_a_label_is_recorded_if_an_app_chose_one() -> None:
    for meta, label in (
        ({}, None),
        ({"lineage": {"root": "a", "swarmId": CREW}}, CREW),
        *(({"lineage": {"root": "a", "swarmId": bare}}, None) for bare in BARE),
    ):
        links = chain("a", "b", meta=meta)
        (row,) = delegation_records(
            "acme", lineage_of(verified(links), links), links, 7, new_receipt_id
        )
        assert row.detail.get("swarm") == label


# Who sent what is refused


def test_codes_that_prove_a_sender_are_deny_reasons() -> None:
    assert set(STATUS_BY_REASON) > SIGNED
    assert not SIGNED & {"malformed_ucan", "bad_signature", "chain_too_deep", "untrusted_issuer"}


def test_the_sender_is_the_signer_and_the_tenant_the_roots() -> None:
    links = chain("a", "b")
    found = sender("chain_invalid", invocation("thief", links).payload, links, {ISSUER: "acme"})
    assert found is not None
    assert (found.tenant, found.agent, found.root) == ("acme", "thief", "a")


def test_no_sender_is_named_without_a_valid_signature() -> None:
    links = chain("a")
    invoked = invocation("a", links).payload
    trusted = {ISSUER: "acme"}
    assert sender("expired", invoked, links, {"did:key:other": "acme"}) is None
    assert sender("expired", invoked, (), trusted) is None
    assert sender(None, invoked, links, trusted) is None
    assert sender("bad_signature", invoked, links, trusted) is None
    assert sender("policy_denied", invoked, links, trusted) is None
