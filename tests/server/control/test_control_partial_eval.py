"""A grant on a chain permits no more than the chain: by rules, and by brute force."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as some
from long_runs import times
from server.control.chain_agents import NOW, REPO, ChainAgent, key, root_of

from nomos._io.signer import AsyncSigner
from nomos._protocol import Call, Verified, Verify
from nomos.models import Resource
from nomos.resources import find_command
from nomos.server.domain.authorization import CanonicalRequest
from nomos.server.domain.delegation import merged
from nomos.server.domain.partial_eval import KnownCall, first_false, holds, known
from nomos.server.providers.catalog import load_catalog

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

LIST: Final = "/github/issue/list"
CATALOG: Final = load_catalog()
CALL: Final = KnownCall(LIST, {("resource", "repo"): "app", ("args", "state"): "open"})
EXACT: Final = KnownCall(LIST, {("args", "n"): 1}, {"n": 1})


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (["==", ".cmd", LIST], True),
        (["==", ".cmd", "/github/issue"], False),
        (["==", ".cmd.x", LIST], None),
        (["==", ".resource.repo", "app"], True),
        (["==", ".resource.repo", "lib"], False),
        (["==", ".resource.path", "a"], None),
        (["==", ".resource", {"repo": "app"}], None),
        (["==", ".args.state", "open"], True),
        (["==", '.args["state"]', "closed"], False),
        (["==", ".args.page", 1], None),
        (["==", ".args", {"state": "closed"}], None),
        (["==", ".", {}], None),
        (["==", ".args.state[0]", "o"], None),
        (["==", ".args.state?", "open"], None),
        (["and", []], True),
        (["or", []], None),
        (["and", [["==", ".cmd", LIST], ["==", ".args.page", 1]]], None),
        (["and", [["==", ".cmd", "/x"], ["==", ".args.page", 1]]], False),
        (["or", [["==", ".cmd", "/x"], ["==", ".args.page", 1]]], None),
        (["or", [["==", ".cmd", LIST], ["==", ".args.page", 1]]], True),
        (["or", [["==", ".cmd", "/x"], ["==", ".cmd", "/y"]]], False),
        (["like", ".args.state", "o*"], None),
        ("nonsense", None),
    ],
)
def test_a_statement_is_evaluated_on_known_values(statement: Any, *, found: bool | None) -> None:
    assert holds(statement, CALL) is found


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (["==", ".args", {"n": 1}], True),
        (["==", ".args", {"n": 1.0}], True),
        (["==", ".args", {"n": True}], False),
        (["==", ".args", {}], False),
        (["==", ".args.n", 2], False),
        (["==", ".args.m", 2], False),
    ],
)
def test_exact_arguments_are_fully_known(statement: Any, *, found: bool | None) -> None:
    assert holds(statement, EXACT) is found


def test_the_first_contradiction_is_named() -> None:
    fine, wrong = ["==", ".cmd", LIST], ["==", ".cmd", "/x"]
    assert first_false([fine, wrong, ["==", ".cmd", "/y"]], CALL) == wrong
    assert first_false([fine], CALL) is None


def asked(command: str, resource: Resource, args: Any = None) -> CanonicalRequest:
    found = find_command(CATALOG, command)
    assert found is not None
    provider, spec = found
    return CanonicalRequest(command, provider, spec, resource, args, 300, None, None, None)


def test_a_path_is_unknown_since_it_covers_its_descendants() -> None:
    notes = {"provider": "filesystem", "path": "notes"}
    of = known(asked("/filesystem/file/read", notes), "/filesystem/file/read")
    assert holds(["==", ".resource.path", "notes/a.txt"], of) is None
    assert holds(["==", ".resource.provider", "github"], of) is False


def test_a_write_is_bound_to_all_its_arguments() -> None:
    create = asked("/github/issue/create", dict(REPO), {"title": "x"})
    assert holds(["==", ".args.body", "y"], known(create, create.command)) is False
    unbound = asked("/github/issue/create", dict(REPO))
    assert holds(["==", ".args.body", "y"], known(unbound, create.command)) is None
    read = asked(LIST, dict(REPO), {"state": "open"})
    assert holds(["==", ".args.page", 1], known(read, LIST)) is None


STATEMENTS = some.recursive(
    some.sampled_from(
        [
            ["==", ".cmd", LIST],
            ["==", ".cmd", "/github/issue/create"],
            ["==", ".args.state", "open"],
            ["==", ".args.state", "closed"],
            ["==", ".args.page", 1],
            ["==", ".args", {}],
            ["==", ".resource.repo", "app"],
            ["==", ".resource.owner", "acme"],
        ]
    ),
    lambda inner: some.tuples(some.sampled_from(["and", "or"]), some.lists(inner, max_size=3)).map(
        list
    ),
    max_leaves=4,
)


def truth(statement: Any, call: dict[str, Any]) -> bool:
    """UCAN 1.0, as plainly as it can be written."""
    match statement:
        case ["==", selector, value]:
            found: Any = call
            for name in selector[1:].split("."):
                if name not in found:
                    return False
                found = found[name]
            return bool(found == value)
        case ["and", of]:
            return all(truth(each, call) for each in of)
        case ["or", of]:
            return not of or any(truth(each, call) for each in of)
    raise AssertionError(statement)


CALLS: Final[list[dict[str, Any]]] = [
    {"cmd": LIST, "resource": {**REPO, **more}, "args": args}
    for more in ({}, {"path": "x"})
    for args in ({}, {"state": "open"}, {"state": "closed"}, {"state": "open", "page": 1})
]


@given(some.lists(STATEMENTS, max_size=3), some.sampled_from([None, {}, {"state": "open"}]))
def test_only_unsatisfiable_statements_are_contradicted(pol: list[Any], args: Any) -> None:
    of = known(asked(LIST, dict(REPO), args), LIST)
    possible = [
        call for call in CALLS if all(call["args"].get(n) == v for n, v in (args or {}).items())
    ]
    for statement in pol:
        outcome = {truth(statement, call) for call in possible}
        judged = holds(statement, of)
        assert judged is None or outcome == {judged}


@given(some.lists(some.lists(STATEMENTS, max_size=4), max_size=4))
def test_merged_statements_hold_where_all_of_them_hold(policies: list[list[Any]]) -> None:
    found = merged(policies)
    assert merged([found]) == found
    for call in CALLS:
        each = all(truth(statement, call) for pol in policies for statement in pol)
        assert all(truth(statement, call) for statement in found) == each


def test_equal_statements_are_kept_once_and_others_are_not_mixed_up() -> None:
    one, true = ["==", ".args.n", 1], ["==", ".args.n", True]
    assert merged([[one, true], [["==", ".args.n", 1.0]], [one]]) == [one, true]


# The law, by brute force

COMMANDS: Final = ("/github/issue/list", "/github/issue/search", "/github/issue/comment/list")
GIVEN: Final = ("/github", "/github/issue", *COMMANDS, "/github/issue/comment")
RESOURCES: Final = (
    {"provider": "github"},
    {"provider": "github", "owner": "acme"},
    dict(REPO),
    {**REPO, "issue_number": 7},
    {**REPO, "repo": "lib"},
)
ARGS: Final[tuple[dict[str, str], ...]] = ({}, {"state": "open"}, {"state": "closed"})
UNIVERSE: Final = tuple(itertools.product(COMMANDS, RESOURCES[2:], ARGS))


@dataclass(frozen=True)
class Plan:
    """A root's command, the delegation of each agent, and the question of the last one."""

    start: str
    links: tuple[Mapping[str, Any], ...]
    command: str
    resource: Resource
    args: Mapping[str, Any] | None
    with_key: bool


@some.composite
def plans(draw: some.DrawFn) -> Plan:
    """Mostly narrower and narrower: what is wider anywhere is only ever refused."""
    start = held = draw(some.sampled_from(["/github", "/github/issue", LIST]))
    begins, ends, links = NOW - 60, NOW + 300, []
    for _ in range(draw(some.integers(1, 3))):
        held = draw(some.sampled_from(commands_under(held, draw(RARELY))))
        begins, ends = draw(some.integers(begins, NOW)), draw(some.integers(NOW + 200, ends))
        links.append(
            {
                "cmd": held,
                "nbf": begins,
                "exp": ends,
                "constraint": draw(some.none() | some.sampled_from(RESOURCES[1:3])),
                "pol": draw(some.lists(STATEMENTS, max_size=2)),
            }
        )
    return Plan(
        start=start,
        links=tuple(links),
        command=draw(some.sampled_from(commands_under(held, draw(RARELY)))),
        resource=draw(some.sampled_from(RESOURCES)),
        args=draw(some.none() | some.sampled_from(ARGS)),
        with_key=draw(some.booleans()),
    )


RARELY = some.integers(0, 9).map(lambda number: number == 9)


def commands_under(held: str, anything: object) -> list[str]:
    return [each for each in GIVEN if anything or f"{each}/".startswith(f"{held}/")]


seen: list[bool] = []


@pytest.fixture(scope="module")
async def anyones(
    tmp_path_factory: pytest.TempPathFactory, signer: AsyncSigner, open_plane: OpenPlane
) -> Any:
    folder = tmp_path_factory.mktemp("law") / "data"
    policy = "permit(principal, action, resource);"
    async with open_plane(folder, signer, policy=policy) as plane:
        yield plane


async def possible(
    plane: Plane, signer: AsyncSigner, holder: ChainAgent, among: Iterable[int]
) -> set[int]:
    """Those calls of the universe that the PDP would take from this holder."""
    found = set()
    for place in among:
        command, resource, args = UNIVERSE[place]
        token = await holder.sign(command, {"resource": resource, **args}, aud=plane.system.pdp_did)
        answer = await signer.ask(
            Verify(
                invocation=token,
                now=NOW,
                trusted_issuers=[plane.system.issuer_did],
                audience=plane.system.pdp_did,
                pdp=True,
                call=Call(cmd=command, resource=resource, args=args),
            )
        )
        if isinstance(answer, Verified):
            found.add(place)
    return found


@pytest.mark.anyio
@settings(
    max_examples=times(100, short=50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=plans())
async def test_a_grant_on_a_chain_is_within_the_chain(
    anyones: Plane, signer: AsyncSigner, plan: Plan
) -> None:
    wide = {} if plan.start == LIST else {"resource": RESOURCES[1]}
    holder = await root_of(anyones, signer, await key(signer, 0x51), plan.start, **wide)
    for generation, link in enumerate(plan.links):
        claims = dict(link)
        constraint = claims.pop("constraint")
        meta = {"resource_constraint": constraint} if constraint else None
        holder = await holder.fork(await key(signer, 0x52 + generation), meta=meta, **claims)
    ask = holder.ask_with_key if plan.with_key else holder.ask
    args = {} if plan.args is None else {"args": plan.args}
    reply = await ask(plan.command, plan.resource, **args)
    assume(reply.status_code == 200)
    answer = reply.json()
    allowed = answer["decision"] == "allow"
    seen.append(allowed)
    if not allowed:
        return
    granted = ChainAgent(anyones, signer, holder.did, tuple(answer["chain"]))
    calls = await possible(anyones, signer, granted, range(len(UNIVERSE)))
    assert await possible(anyones, signer, holder, calls) == calls
    leaf = anyones.payload(answer["chain"][0])
    assert leaf["exp"] <= holder.leaf["exp"] and leaf["nbf"] >= holder.leaf["nbf"]


def test_the_property_covered_grants_and_denials() -> None:
    """Without enough of both it would have shown nothing."""
    assert not seen or len(seen) / 16 < sum(seen) < len(seen) * 15 / 16
