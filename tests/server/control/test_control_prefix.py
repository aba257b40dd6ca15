"""A grant of a command prefix: all its commands are allowed, or none is granted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from server.control.chain_agents import REPO, key, root_of

from nomos._io.signer import AsyncSigner
from nomos._protocol import Call, Refused, Verified, Verify
from nomos.policy.bundle import Source, load
from nomos.policy.decision import PolicyQuestion
from nomos.resources import commands_under
from nomos.server.domain.prefix import decide_all
from nomos.server.providers.catalog import load_catalog

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

POLICY = """
@id("all") permit(principal, action, resource);

@id("no-deleting") @reason("nothing is deleted here")
forbid(principal, action == Action::"/github/repo/delete", resource is Github);

@id("careful") @step_up("lead")
forbid(principal, action == Action::"/github/pr/merge", resource is Github)
unless { context.cosigned };

@id("frozen")
forbid(principal, action in Action::"/github/issue", resource is Github)
when { resource.repo == "archive" };

@id("broken")
forbid(principal, action == Action::"/github/release/create", resource is Github)
when { context.rate + 9223372036854775807 > 0 && context.rate - 1 + 9223372036854775807 > 0 };

@id("bound")
forbid(principal, action == Action::"/filesystem/file/write", resource is Filesystem)
unless { context.argsBound };
"""
ISSUES = commands_under(load_catalog(), "/github/issue")


@pytest.fixture(scope="module")
async def plane(
    tmp_path_factory: pytest.TempPathFactory, signer: AsyncSigner, open_plane: OpenPlane
) -> Any:
    folder = tmp_path_factory.mktemp("prefix") / "data"
    async with open_plane(folder, signer, policy=POLICY) as plane:
        yield plane


async def test_a_prefix_is_granted_as_its_registered_commands(plane: Plane, agent: str) -> None:
    answer = (await plane.ask(command="/github/issue", agentDid=agent)).json()
    assert (answer["decision"], answer["commands"]) == ("allow", list(ISSUES))
    assert "ucan" not in answer and "args" not in answer
    claims = plane.payload(answer["chain"][0])
    assert claims["cmd"] == "/github/issue"
    assert claims["pol"] == [["or", [["==", ".cmd", name] for name in ISSUES]]]
    assert claims["meta"]["resource_constraint"] == REPO
    assert claims["meta"]["audience"] == answer["audience"] == plane.system.pdp_did
    [receipt, *_] = await plane.receipts()
    assert (receipt.command, receipt.detail) == ("/github/issue", {"commands": list(ISSUES)})


async def test_a_grant_of_a_prefix_is_valid_for_its_commands_only(
    plane: Plane, signer: AsyncSigner
) -> None:
    root = await root_of(plane, signer, await key(signer, 0x51), "/github/issue")
    for command in (*ISSUES, "/github/issue", "/github/issue/unheard-of", "/github/repo/read"):
        token = await root.sign(command, {"resource": dict(REPO)}, aud=plane.system.pdp_did)
        found = await signer.ask(
            Verify(
                invocation=token,
                now=int(plane.clock()),
                trusted_issuers=[plane.system.issuer_did],
                audience=plane.system.pdp_did,
                pdp=True,
                call=Call(cmd=command, resource=dict(REPO), args={}),
            )
        )
        assert isinstance(found, Verified if command in ISSUES else Refused), (command, found)


@pytest.mark.parametrize(
    "resource", [{"provider": "github"}, {"provider": "github", "owner": "ACME"}, REPO]
)
async def test_the_resource_may_leave_fields_out(
    plane: Plane, agent: str, resource: dict[str, str]
) -> None:
    reply = await plane.ask(command="/github/issue", resource=resource, agentDid=agent)
    answer = reply.json()
    assert answer["decision"] == "allow"
    canonical = {name: value.lower() for name, value in resource.items()}
    assert answer["resource"] == canonical
    claims = plane.payload(answer["chain"][0])
    assert claims["meta"]["resource_constraint"] == canonical


DENIED = {
    "/github/repo": ("app", "policy_denied", ["no-deleting"], "/github/repo/delete (nothing"),
    "/github/pr": ("app", "policy_denied", ["careful"], "/github/pr/merge (needs the approval"),
    "/github/issue": ("archive", "policy_denied", ["frozen"], "/github/issue/close (forbidden"),
    "/github/release": (
        "app",
        "policy_error",
        ["broken"],
        "/github/release/create (evaluation failed",
    ),
    "/github": (
        "app",
        "policy_error",
        ["broken", "careful", "no-deleting"],
        "/github/pr/merge (needs the approval of lead)",
    ),
}


@pytest.mark.parametrize("prefix", DENIED)
async def test_one_denied_command_denies_the_prefix_and_is_named(
    plane: Plane, agent: str, prefix: str
) -> None:
    repo, reason, policies, says = DENIED[prefix]
    resource = {**REPO, "repo": repo}
    answer = (await plane.ask(command=prefix, resource=resource, agentDid=agent)).json()
    assert (answer["decision"], answer["reason"]) == ("deny", reason)
    assert answer["explanation"]["policies"] == policies
    assert says in answer["explanation"]["message"]
    assert "chain" not in answer


async def test_arguments_of_a_prefix_are_not_bound(plane: Plane, agent: str) -> None:
    asked = {"command": "/filesystem/file", "resource": {"provider": "filesystem"}}
    answer = (await plane.ask(**asked, agentDid=agent)).json()
    assert (answer["decision"], answer["explanation"]["policies"]) == ("deny", ["bound"])


async def test_a_prefix_without_commands_is_refused(plane: Plane, agent: str) -> None:
    for command in ("/github/iss", "/github/issue/list/all", "/github/issues"):
        reply = await plane.ask(command=command, agentDid=agent)
        assert (reply.status_code, reply.json()["fields"]) == (400, ["command"])


async def test_a_registered_command_with_subcommands_is_no_prefix(plane: Plane, agent: str) -> None:
    """`/github/issue/comment` is registered, and so is `/github/issue/comment/list`."""
    answer = (
        await plane.ask(
            command="/github/issue/comment", resource={**REPO, "issue_number": 1}, agentDid=agent
        )
    ).json()
    assert "commands" not in answer
    claims = plane.payload(answer["chain"][0])
    assert claims["pol"] == [["==", ".cmd", "/github/issue/comment"]]


async def test_a_repeated_prefix_question_gets_the_same_answer(plane: Plane, agent: str) -> None:
    asked = {"command": "/github/issue", "agentDid": agent}
    headers = {"idempotency-key": "prefix-1"}
    first, again = [(await plane.ask(headers, **asked)).json() for _ in range(2)]
    assert first == again


async def test_a_question_of_many_commands_counts_once(
    tmp_path: Path, signer: AsyncSigner, open_plane: OpenPlane, agent: str
) -> None:
    policy = """
    permit(principal, action, resource);
    @id("slowly") forbid(principal, action, resource) when { context.rate >= 2 };
    """
    async with open_plane(tmp_path / "data", signer, policy=policy) as plane:
        answers = [
            (await plane.ask(command="/github", agentDid=agent)).json()["decision"]
            for _ in range(3)
        ]
    assert answers == ["allow", "allow", "deny"]


def test_an_empty_list_of_commands_is_denied() -> None:
    bundle = load((Source("a.cedar", "permit(principal, action, resource);"),), load_catalog())
    inquiry = PolicyQuestion("did:x", "app", "/github", "github", {"provider": "github"}, False, 0)
    assert decide_all(bundle, inquiry, ()).decision == "deny"
