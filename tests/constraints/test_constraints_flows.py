"""Constraints in a guard's flows if the control plane ignores them or is unreachable."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from answers import allow, payload
from hostile import Reply, control_plane

from nomos import AuthGuard, FailOpenWarning
from nomos._core import parent_chain, requests
from nomos.constraints import at_most, eq, from_pol
from nomos.errors import InvalidRequest, InvalidResponse
from nomos.models import Capability, chain_of

DID = "did:key:z6MkvqoYXQfDDJRv8L4wKzxYeuKyVZBfi9Qo6Ro8MiLH3kDQ"
LIST = "/github/issue/list"
REPO = {"provider": "github", "owner": "acme", "repo": "app"}
OPEN = eq("state", "open")


@pytest.mark.parametrize(
    "link",
    [
        {},
        {"pol": None},
        {"pol": "x"},
        {"pol": []},
        {"pol": eq("state", "closed").pol},
        {"pol": OPEN.pol},
        {"pol": [["or", [*OPEN.pol, *at_most("n", 1).pol]]]},
        {"pol": [["==", ".args.state", "open"], ["<=", ".args.n", True]]},
    ],
)
def test_an_allow_without_the_requested_constraints_is_refused(link: dict[str, Any]) -> None:
    with control_plane(Reply(500)) as plane:
        guard = AuthGuard(control_plane_url=plane.url, api_key="nomos_app_x_y")
        did = guard.did()

        def answered(_: bytes) -> Reply:
            key = plane.requests[-1][0]["idempotency-key"]
            given = payload(did, LIST, REPO, key=key, now=int(time.time()))
            return Reply(body=allow(given | link))

        plane.answers[:] = [answered]
        with pytest.raises(InvalidResponse, match="without the constraints"):
            guard.authorize(command=LIST, resource=REPO, constraints=[OPEN, at_most("n", 1)])
        guard.close()


def test_constraints_are_sent_as_standard_pol() -> None:
    asked = requests.question(command=LIST, resource=REPO, constraints=[OPEN, at_most("n", 1)])
    sent = requests.authorize(requests.AuthorizeCall(asked, DID, "k", "n", (), 0.0))
    assert json.loads(sent.body)["pol"] == (OPEN & at_most("n", 1)).pol
    nothing: tuple[Any, ...] = (None, [], from_pol([]))
    for none in nothing:
        asked = requests.question(command=LIST, resource=REPO, constraints=none)
        sent = requests.authorize(requests.AuthorizeCall(asked, DID, "k", "n", (), 0.0))
        assert "pol" not in json.loads(sent.body)
    with pytest.raises(InvalidRequest, match="constraints"):
        requests.question(command=LIST, resource=REPO, constraints="x")


def test_a_childs_chain_is_no_offline_grant_for_a_question_with_constraints() -> None:
    held = parent_chain.VerifiedParentChain(
        chain=chain_of(["x"]),
        reach=Capability("/github", {}),
        issuer=DID,
        audience=DID,
        expires_at=2_000_000_000,
    )
    plain = requests.question(command=LIST, resource=REPO)
    less = requests.question(command=LIST, resource=REPO, constraints=OPEN)
    assert parent_chain.offline_grant(held, plain, DID) is not None
    assert parent_chain.offline_grant(held, less, DID) is None


def test_a_remembered_allow_is_reused_for_the_same_constraints_only() -> None:
    policy = 'permit (principal, action == Action::"/github/issue/list", resource);'
    with AuthGuard.embedded(policies=policy) as system:
        guard = AuthGuard(
            control_plane_url=system.control_plane_url,
            api_key=system.api_key,
            failure_mode="open",
            timeout=20.0,
        )
        given = guard.authorize(command=LIST, resource=REPO, constraints=OPEN)
        guard._endpoint.url = "http://127.0.0.1:1"
        with pytest.warns(FailOpenWarning):
            same = guard.authorize(command=LIST, resource=REPO, constraints=OPEN)
        with pytest.warns(FailOpenWarning):
            other = guard.authorize(command=LIST, resource=REPO)
        assert (same.chain, same.degraded) == (given.chain, True)
        assert (len(other.chain), other.ucan) == (0, None)
        guard.close()
