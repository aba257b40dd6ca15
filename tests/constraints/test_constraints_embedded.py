"""Constraints from guard to PDP: requested, signed, delegated and enforced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from github import ISSUES, TOKEN, github
from guard_kinds import GUARD_KINDS, GuardKind

from nomos import AuthGuard, Child, errors
from nomos._core.tokens import decode_unverified
from nomos.constraints import (
    Constraint,
    all_of,
    any_of,
    at_most,
    between,
    each,
    eq,
    from_pol,
    like,
    listed,
    not_eq,
    one_of,
    under,
)
from nomos.models import Capability
from nomos.swarm import fork_child

POLICY = """
@id("all") permit (principal, action, resource);
@id("careful") @step_up("lead")
forbid (principal, action == Action::"/github/issue/list", resource is Github)
when { resource.repo == "secret" } unless { context.cosigned };
"""
LIST = "/github/issue/list"
REPO = {"provider": "github", "owner": "acme", "repo": "app"}
SECRET = REPO | {"repo": "secret"}

each_guard_kind = pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def system() -> Iterator[AuthGuard]:
    with github() as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOMOS_GITHUB_URL", upstream.url)
        patch.setenv("NOMOS_GITHUB_TOKEN", TOKEN)
        with AuthGuard.embedded(policies=POLICY) as running:
            yield running


def get(system: AuthGuard, headers: Any, repo: str = "app", **args: Any) -> httpx.Response:
    params = {"owner": "acme", "repo": repo, **args}
    return httpx.get(f"{system.pdp_url}{LIST}", params=params, headers=headers)


def pol(grant: Any) -> list[Any]:
    statements: list[Any] = decode_unverified(grant.chain[-1])["pol"]
    return statements


@each_guard_kind
def test_a_grant_restricts_calls_to_its_constraints(
    system: AuthGuard, guard_kind: GuardKind
) -> None:
    guard = guard_kind.guard(control_plane_url=system.control_plane_url, api_key=system.api_key)
    asked = [one_of("state", ["open", "closed"]), at_most("per_page", 50)]
    grant = guard_kind.call(guard.authorize, command=LIST, resource=REPO, constraints=asked)
    assert grant.decision == "allow"
    assert pol(grant) == [["==", ".cmd", LIST], *all_of(*asked).pol]

    def sign(**args: Any) -> Any:
        return guard_kind.call(grant.headers, args=args)

    good = get(system, sign(state="open", per_page=50), state="open", per_page=50)
    assert good.json()["issues"] == ISSUES[:1]
    calls: list[dict[str, Any]] = [
        {"state": "all", "per_page": 5},
        {"state": "open", "per_page": 51},
    ]
    for signed in (*calls, {}):
        outside = get(system, sign(**signed), **signed)
        assert outside.status_code == 403
        assert outside.json()["error_code"] == "resource_out_of_scope"
        # The statement is named, and nothing of the call.
        about = "per_page is at most 50 (pol[2])"
        if signed.get("state") != "open":
            about = 'state is one of "open", "closed" (pol[1])'
        if not signed:
            about += ", and the token signs none"
        assert outside.json()["error"] == f"this link holds only where {about}"
    # Signed as one call and made as another.
    other = get(system, sign(state="open", per_page=5), state="closed", per_page=5)
    assert other.json()["error_code"] == "resource_mismatch"
    assert get(system, {"authorization": f"Bearer {grant.ucan}"}).status_code == 403
    guard_kind.call(guard.close)


@each_guard_kind
def test_a_wrong_constraint_is_a_wrong_question(system: AuthGuard, guard_kind: GuardKind) -> None:
    guard = guard_kind.guard(control_plane_url=system.control_plane_url, api_key=system.api_key)
    for wrong in ("state", [eq("state", "x"), None]):
        with pytest.raises(errors.InvalidRequest, match="constraints") as refused:
            guard_kind.call(guard.authorize, command=LIST, resource=REPO, constraints=wrong)
        assert refused.value.fields == ("constraints",)
    vacuous = from_pol([["not", ["==", ".args.state", "x"]]])
    with pytest.raises(errors.InvalidRequest, match=r"pol\[0\]: a `not` holds where") as refused:
        guard_kind.call(guard.authorize, command=LIST, resource=REPO, constraints=[vacuous])
    assert refused.value.fields == ("pol",)
    guard_kind.call(guard.close)


def test_the_remedy_for_a_vacuous_constraint_of_a_child_works(system: AuthGuard) -> None:
    grant = system.authorize(command=LIST, resource=REPO)
    vacuous = ["not", ["==", ".args.state", "x"]]

    def forked(*pol: list[Any]) -> Child:
        wanted = {"with": "github://acme/app", "can": "issue:list", "constraints": [from_pol(pol)]}
        return system.fork_child(parent_chain=grant.chain, capabilities=[wanted])

    with pytest.raises(errors.ConfigurationError) as refused:
        forked(vacuous)
    assert str(refused.value) == (
        "capabilities[0]: pol[0]: a `not` holds where its path is missing; "
        'put ["!=", "<path>?", null] before it'
    )
    with forked(["!=", ".args.state?", None], vacuous) as child:
        assert decode_unverified(child.chain[-1])["pol"][-1] == vacuous


def test_a_single_constraint_needs_no_list_and_an_empty_list_adds_none(system: AuthGuard) -> None:
    one = system.authorize(command=LIST, resource=REPO, constraints=eq("state", "open"))
    assert pol(one)[1:] == eq("state", "open").pol
    none = system.authorize(command=LIST, resource=REPO, constraints=[])
    assert pol(none) == pol(system.authorize(command=LIST, resource=REPO))


def test_bound_args_and_constraints_both_apply(system: AuthGuard) -> None:
    grant = system.authorize(
        command=LIST, resource=REPO, args={"state": "open"}, constraints=[not_eq("state", "all")]
    )
    assert get(system, grant.headers(), state="open").status_code == 200
    never = system.authorize(
        command=LIST, resource=REPO, args={"state": "open"}, constraints=[eq("state", "closed")]
    )
    assert get(system, never.headers(), state="open").status_code == 403


def test_a_grant_of_a_prefix_has_constraints(system: AuthGuard) -> None:
    grant = system.authorize(
        command="/github/issue", resource=REPO, constraints=eq("state", "open")
    )
    assert grant.commands
    assert pol(grant)[-1:] == eq("state", "open").pol
    headers = grant.headers(command=LIST, args={"state": "open"})
    assert get(system, headers, state="open").status_code == 200
    headers = grant.headers(command=LIST, args={"state": "closed"})
    assert get(system, headers, state="closed").status_code == 403


@each_guard_kind
def test_an_approver_sees_the_constraints_and_the_approval_is_bound_to_them(
    system: AuthGuard, guard_kind: GuardKind
) -> None:
    guard = guard_kind.guard(control_plane_url=system.control_plane_url, api_key=system.api_key)
    asked: dict[str, Any] = {
        "command": LIST,
        "resource": SECRET,
        "constraints": [eq("state", "open"), between("page", 1, 3)],
        "ttl_seconds": {"sync": 300, "asyncio": 301, "trio": 302}[guard_kind.name],
    }
    envelope = guard_kind.call(guard.authorize, **asked).approval_envelope_id
    seen = system.approvals.get(envelope)
    assert seen.constraints == ('state is "open"', "page is between 1 and 3")
    assert system.approvals.decide(envelope, approve=True).state == "approved"
    wider = asked | {"constraints": [eq("state", "open")], "cosigner_envelope_id": envelope}
    denied = guard_kind.call(guard.authorize, **wider)
    assert (denied.decision, denied.reason) == ("deny", "approval_mismatch")
    assert denied.explanation.fields == ("pol",)
    grant = guard_kind.call(guard.authorize, **asked, cosigner_envelope_id=envelope)
    assert grant.decision == "allow"
    assert pol(grant)[-2:] == all_of(*asked["constraints"]).pol
    row = guard_kind.call(guard.receipt, receipt_id=grant.receipt_id).row
    assert row["detail"]["pol"] == all_of(*asked["constraints"]).pol
    headers = guard_kind.call(grant.headers, args={"state": "open", "page": 9})
    assert get(system, headers, "secret", state="open", page=9).status_code == 403
    guard_kind.call(guard.close)


@pytest.fixture(scope="module")
def grant(system: AuthGuard) -> Any:
    """A grant to delegate: open or closed issues, fifty at most."""
    return system.authorize(
        command=LIST,
        resource=REPO,
        constraints=[one_of("state", ["open", "closed"]), at_most("per_page", 50)],
        ttl_seconds=3600,
    ).require()


def capability(*constraints: Constraint, **more: Any) -> dict[str, Any]:
    return {"with": "github://acme/app", "can": LIST, "constraints": list(constraints), **more}


@each_guard_kind
def test_a_child_is_restricted_by_its_own_and_its_parents_constraints(
    system: AuthGuard, grant: Any, guard_kind: GuardKind
) -> None:
    guard = guard_kind.guard(control_plane_url=system.control_plane_url, api_key=system.api_key)
    own = guard_kind.call(
        guard.authorize,
        command=LIST,
        resource=REPO,
        constraints=[one_of("state", ["open", "closed"])],
    )
    child = guard_kind.call(
        guard.fork_child,
        parent_chain=own,
        capabilities=[capability(eq("state", "open"), between("per_page", 1, 5))],
    )
    several = guard_kind.call(
        guard.fork_children,
        children=[{"capabilities": [capability(eq("state", "closed"))]}],
        parent_chain=own,
    )
    assert (
        decode_unverified(child.chain[-1])["pol"]
        == (eq("state", "open") & between("per_page", 1, 5)).pol
    )
    assert decode_unverified(several[0].chain[-1])["pol"] == eq("state", "closed").pol
    acting = guard_kind.guard.from_env(child.env())

    def call(**args: Any) -> int:
        headers = guard_kind.call(acting.headers, command=LIST, resource=REPO, args=args)
        return get(system, headers, **args).status_code

    assert call(state="open", per_page=5) == 200
    message = r"holds only where per_page is between 1 and 5 \(pol.*\), and per_page is 6$"
    with pytest.raises(errors.ChainError, match=message):
        call(state="open", per_page=6)
    with pytest.raises(errors.ChainError):
        call(state="closed", per_page=5)
    asked = guard_kind.call(
        acting.authorize, command=LIST, resource=REPO, constraints=[like("labels", "bug*")]
    )
    assert [*eq("state", "open").pol, *like("labels", "bug*").pol] == [
        statement for statement in pol(asked) if statement[1] in (".args.state", ".args.labels")
    ]
    for one in (child, *several):
        one.close()
    guard_kind.call(acting.close)
    guard_kind.call(guard.close)


WIDER: list[tuple[list[Constraint], str, str]] = [
    (
        [eq("state", "all")],
        'requested is `state is "all"`',
        'held is `state is one of "open", "closed"`',
    ),
    (
        [one_of("state", ["open", "all"])],
        'requested is `state is one of "open", "all"`',
        "held is `state",
    ),
    ([at_most("per_page", 51)], "per_page is at most 51", "per_page is at most 50"),
    (
        [between("per_page", 1, 99)],
        "per_page is between 1 and 99",
        "at most 50",
    ),
    ([eq("state", "open"), eq("per_page", "5")], 'per_page is "5"', "at most 50"),
]


@pytest.mark.parametrize(("asked", "message", "held"), WIDER)
def test_wider_or_other_constraints_are_refused_at_the_fork(
    system: AuthGuard, grant: Any, asked: list[Constraint], message: str, held: str
) -> None:
    ways: list[Callable[[], Child]] = [
        lambda: fork_child(parent_chain=grant, capabilities=[capability(*asked)]),
        lambda: system.fork_child(parent_chain=grant, capabilities=[capability(*asked)]),
        lambda: system.fork_children(
            [
                {"capabilities": [capability()]},
                {"capabilities": [capability(), capability(*asked)]},
            ],
            parent_chain=grant,
        )[0],
    ]
    for fork in ways:
        with pytest.raises(errors.AttenuationError) as refused:
            fork()
        assert refused.value.code == "chain_attenuation_violation"
        assert message in str(refused.value)
        assert held in str(refused.value)
        assert "capabilities[" in str(refused.value)
    assert str(refused.value).startswith("children[1].capabilities[1] ")


NARROWER: list[list[Constraint]] = [
    [],
    [eq("state", "open")],
    [one_of("state", ["closed", "open"]), at_most("per_page", 50)],
    [between("per_page", 1, 50)],
    [eq("sort", "created")],
    [like("state", "o*") | eq("sort", "created")],
    [each("labels", eq(".", "x"))],
    [any_of(eq("state", "open"), eq("page", 1))],
]


@pytest.mark.parametrize("asked", NARROWER, ids=str)
def test_narrower_or_undecided_constraints_are_added_to_the_parents(
    grant: Any, asked: list[Constraint]
) -> None:
    with fork_child(parent_chain=grant, capabilities=[capability(*asked)]) as child:
        assert decode_unverified(child.chain[0])["pol"] == pol(grant)
        assert decode_unverified(child.chain[1])["pol"] == listed(asked)


def test_the_chain_that_permits_the_constraints_is_delegated(system: AuthGuard) -> None:
    chains = [
        system.authorize(command=LIST, resource=REPO, constraints=eq("state", state)).chain
        for state in ("open", "closed")
    ]
    for state, index in (("open", 0), ("closed", 1)):
        with fork_child(
            parent_chain=chains, capabilities=[capability(eq("state", state))]
        ) as child:
            assert child.chain[0] == chains[index][0]
    with pytest.raises(errors.AttenuationError, match='held is `state is "open"`'):
        fork_child(parent_chain=chains, capabilities=[capability(eq("state", "all"))])


def test_an_unknown_operator_is_refused_by_the_binary(grant: Any) -> None:
    odd = {"with": "github://acme/app", "can": LIST, "pol": [["xor", ".args.state", 1]]}
    with pytest.raises(errors.ConfigurationError, match="operator"):
        fork_child(parent_chain=grant, capabilities=[odd])


def test_a_vacuous_constraint_is_refused_by_the_binary(grant: Any) -> None:
    nothing = from_pol([["or", []]])
    with pytest.raises(errors.ConfigurationError, match="an empty `or`") as refused:
        fork_child(parent_chain=grant, capabilities=[capability(nothing)])
    assert refused.value.setting == "capabilities[0]"


def test_args_constraints_and_pol_are_combined(grant: Any) -> None:
    asked = capability(at_most("per_page", 5), args={"state": "open"}, pol=[["==", ".cmd", LIST]])
    with fork_child(parent_chain=grant, capabilities=[asked]) as child:
        assert isinstance(child, Child)
        assert decode_unverified(child.chain[1])["pol"] == [
            *eq("state", "open").pol,
            *at_most("per_page", 5).pol,
            ["==", ".cmd", LIST],
        ]
        assert isinstance(child.capabilities[0], Capability)


@pytest.mark.parametrize("wrong", ["state", [None], eq("state", 1).pol, 5, None])
def test_a_capability_refuses_other_values_as_constraints(grant: Any, wrong: Any) -> None:
    with pytest.raises(errors.ConfigurationError) as refused:
        fork_child(parent_chain=grant, capabilities=[capability() | {"constraints": wrong}])
    assert refused.value.setting.startswith("capabilities[0].constraints")


def test_one_constraint_of_a_capability_needs_no_list(grant: Any) -> None:
    one = capability() | {"constraints": under(".resource.repo", "app")}
    with fork_child(parent_chain=grant, capabilities=[one]) as child:
        assert decode_unverified(child.chain[1])["pol"] == under(".resource.repo", "app").pol
