"""Questions beyond a chain, or on forged chains, and their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import store_access
from server.control import people
from server.control.chain_agents import NOW, REPO, ChainAgent, cid, key, new_did, root_of

from nomos._io.signer import AsyncSigner
from nomos._protocol import Delegate, Delegation, Signed
from nomos.server.storage.tenants import DEFAULT

if TYPE_CHECKING:
    from server.control.conftest import OpenPlane, Plane

pytestmark = pytest.mark.anyio

POLICY: Final = """
@id("all") permit(principal, action, resource);

@id("careful") @step_up("lead")
forbid(principal, action == Action::"/github/pr/merge", resource is Github)
unless { context.cosigned };
"""
ISSUE, LIST = "/github/issue", "/github/issue/list"
OTHER: Final = {"provider": "github", "owner": "acme", "repo": "other"}


@dataclass
class Stage:
    """A root agent with the issues of one repository, and its child with the same."""

    plane: Plane
    signer: AsyncSigner
    root: ChainAgent
    child: ChainAgent
    grandchild: str

    async def made(self, **more: Any) -> ChainAgent:
        """What the child delegates, hostile or not."""
        return await self.child.fork(self.grandchild, **more)


@dataclass
class Try:
    """Who asks for what."""

    who: ChainAgent
    command: str = LIST
    resource: Any = None
    more: dict[str, Any] | None = None


Attack = Callable[[Stage], Awaitable[Try]]


async def wider_command(stage: Stage) -> Try:
    return Try(await stage.made(cmd="/github"))


async def another_command(stage: Stage) -> Try:
    return Try(await stage.made(cmd="/github/issues"), "/github/issues")


async def asks_for_more(stage: Stage) -> Try:
    return Try(await stage.made(cmd=LIST), "/github/issue/create")


async def asks_for_the_prefix(stage: Stage) -> Try:
    return Try(await stage.made(cmd=LIST), ISSUE)


async def asks_for_a_sibling_name(stage: Stage) -> Try:
    """`/github/repo` is not under `/github/issue`, nor is a path that only begins alike."""
    return Try(await stage.made(), "/github/repo/read")


async def wider_resource(stage: Stage) -> Try:
    meta = {"resource_constraint": {"provider": "github", "owner": "acme"}}
    return Try(await stage.made(meta=meta))


async def another_resource(stage: Stage) -> Try:
    return Try(await stage.made(meta={"resource_constraint": OTHER}), resource=OTHER)


async def empty_constraint(stage: Stage) -> Try:
    return Try(await stage.made(meta={"resource_constraint": {}}), resource=OTHER)


async def dropped_constraint(stage: Stage) -> Try:
    return Try(await stage.made(meta=None), resource=OTHER)


async def out_of_scope(stage: Stage) -> Try:
    return Try(await stage.made(), resource=OTHER)


async def longer_life(stage: Stage) -> Try:
    return Try(await stage.made(exp=NOW + 3600))


async def earlier_start(stage: Stage) -> Try:
    return Try(await stage.made(nbf=NOW - 3600))


async def dropped_ancestor(stage: Stage) -> Try:
    who = await stage.made()
    return Try(replace(who, chain=(who.chain[0], who.chain[2])))


async def dropped_root(stage: Stage) -> Try:
    who = await stage.made()
    return Try(replace(who, chain=who.chain[1:]))


async def swapped(stage: Stage) -> Try:
    who = await stage.made()
    root, first, second = who.chain
    return Try(replace(who, chain=(root, second, first)))


async def doubled(stage: Stage) -> Try:
    who = await stage.made()
    return Try(replace(who, chain=(*who.chain, who.chain[-1])))


async def grafted(stage: Stage) -> Try:
    """A link of the child's, put on the root of another family."""
    who = await stage.made(cmd="/github/repo/read")
    other = await root_of(stage.plane, stage.signer, stage.root.did, "/github/repo/read")
    return Try(replace(who, chain=(*other.chain, *who.chain[1:])), "/github/repo/read")


async def parents_chain(stage: Stage) -> Try:
    return Try(replace(stage.child, did=stage.grandchild))


async def siblings_chain(stage: Stage) -> Try:
    sibling = await stage.child.fork(await key(stage.signer, 0x5F))
    return Try(replace(sibling, did=stage.grandchild))


async def stolen_and_extended(stage: Stage) -> Try:
    """A thief who saw a chain adds a link of their own to it."""
    other_holder = replace(stage.child, did=stage.grandchild)
    return Try(await other_holder.fork(stage.grandchild))


async def approved(stage: Stage) -> Try:
    """What people approved is the holder's alone."""
    asked: dict[str, Any] = {
        "command": "/github/pr/merge",
        "resource": {**REPO, "pull_number": 7},
    }
    asked |= {"agentDid": stage.root.did, "args": {}}
    lead = await people.operator(stage.plane, "lead")
    envelope = await people.approved(stage.plane, lead, **asked)
    answer = (await stage.plane.ask(**asked, cosignerEnvelopeId=envelope)).json()
    holder = ChainAgent(stage.plane, stage.signer, stage.root.did, tuple(answer["chain"]))
    return Try(await holder.fork(stage.grandchild), asked["command"], asked["resource"])


async def approved_by_itself(stage: Stage) -> Try:
    tried = await approved(stage)
    holder = replace(tried.who, did=stage.root.did, chain=tried.who.chain[:1])
    return replace(tried, who=holder)


async def claims_an_approval(stage: Stage) -> Try:
    """Only the issuer's word counts for what people approved."""
    meta = {"approval": {"id": "env_1", "fingerprint": "0" * 64, "roles": ["lead"]}}
    return Try(await stage.made(meta=meta))


async def expired(stage: Stage) -> Try:
    return Try(await stage.made(exp=NOW - 1, nbf=NOW - 60))


async def at_its_end(stage: Stage) -> Try:
    """A chain's own times are exact, whatever is forgiven an invocation."""
    return Try(await stage.made(exp=NOW))


async def not_yet(stage: Stage) -> Try:
    return Try(await stage.made(nbf=NOW + 1))


async def policy_on_commands(stage: Stage) -> Try:
    return Try(await stage.made(pol=[["==", ".cmd", LIST]]), "/github/issue/create")


async def policy_on_arguments(stage: Stage) -> Try:
    who = await stage.made(pol=[["==", ".args.state", "open"]])
    return Try(who, more={"args": {"state": "closed"}})


async def policy_on_the_resource(stage: Stage) -> Try:
    who = await stage.made(pol=[["or", [["==", ".resource.repo", "lib"]]]])
    return Try(who)


async def revoked_link(stage: Stage) -> Try:
    who = await stage.made()
    await store_access.revoke(stage.plane.system.store, DEFAULT, [cid(who.chain[-1])])
    return Try(who)


async def revoked_ancestor(stage: Stage) -> Try:
    await store_access.revoke(stage.plane.system.store, DEFAULT, [cid(stage.child.chain[-1])])
    return Try(await stage.made())


async def revoked_root(stage: Stage) -> Try:
    await store_access.revoke(stage.plane.system.store, DEFAULT, [cid(stage.child.chain[0])])
    return Try(await stage.made())


async def revoked_forefather(stage: Stage) -> Try:
    """The link that a re-issued root took the place of."""
    answer = (await stage.child.ask(ISSUE)).json()
    holder = replace(stage.child, chain=tuple(answer["chain"]))
    await store_access.revoke(stage.plane.system.store, DEFAULT, [cid(stage.child.chain[-1])])
    return Try(await holder.fork(stage.grandchild))


async def revoked_parent(stage: Stage) -> Try:
    """An agent that handed it on, by its key."""
    await store_access.revoke(stage.plane.system.store, DEFAULT, [stage.child.did])
    return Try(await stage.made())


async def revoked_holder(stage: Stage) -> Try:
    await store_access.revoke(stage.plane.system.store, DEFAULT, [stage.grandchild])
    return Try(await stage.made())


DECIDED: Final[dict[Attack, str]] = {
    wider_command: "chain_attenuation_violation",
    another_command: "chain_attenuation_violation",
    asks_for_more: "chain_attenuation_violation",
    asks_for_the_prefix: "chain_attenuation_violation",
    asks_for_a_sibling_name: "chain_attenuation_violation",
    wider_resource: "chain_attenuation_violation",
    another_resource: "chain_attenuation_violation",
    empty_constraint: "chain_attenuation_violation",
    dropped_constraint: "resource_out_of_scope",
    out_of_scope: "resource_out_of_scope",
    longer_life: "chain_attenuation_violation",
    earlier_start: "chain_attenuation_violation",
    dropped_ancestor: "chain_invalid",
    swapped: "chain_invalid",
    doubled: "chain_invalid",
    grafted: "chain_invalid",
    stolen_and_extended: "chain_invalid",
    approved: "chain_invalid",
    approved_by_itself: "chain_invalid",
    claims_an_approval: "chain_invalid",
    expired: "expired",
    at_its_end: "expired",
    not_yet: "not_yet_valid",
    policy_on_commands: "chain_attenuation_violation",
    policy_on_arguments: "resource_out_of_scope",
    policy_on_the_resource: "resource_out_of_scope",
    revoked_link: "revoked",
    revoked_ancestor: "revoked",
    revoked_root: "revoked",
    revoked_forefather: "revoked",
    revoked_parent: "revoked",
    revoked_holder: "revoked",
}
"""Denied and on record, with an API key and without."""


async def no_root(stage: Stage) -> Try:
    """A chain with an untrusted root."""
    who = replace(stage.child, did=stage.grandchild)
    return Try(await self_made(who, stage.grandchild))


async def self_made(who: ChainAgent, issuer: str) -> ChainAgent:
    payload = Delegation(
        iss=issuer,
        aud=who.did,
        sub=issuer,
        cmd="/github",
        pol=[],
        nonce="self-made",
        nbf=NOW - 60,
        exp=NOW + 600,
        meta={"app_id": who.root["meta"]["app_id"]},
    )
    answer = await who.signer.ask(Delegate(key=issuer, payload=payload))
    assert isinstance(answer, Signed)
    return replace(who, chain=(answer.jwt,))


def flipped(token: str) -> str:
    head, payload, signature = token.split(".")
    other = "A" if signature[10] != "A" else "B"
    return f"{head}.{payload}.{signature[:10]}{other}{signature[11:]}"


async def forged_root(stage: Stage) -> Try:
    who = await stage.made()
    return Try(replace(who, chain=(flipped(who.chain[0]), *who.chain[1:])))


async def forged_link(stage: Stage) -> Try:
    who = await stage.made()
    return Try(replace(who, chain=(*who.chain[:-1], flipped(who.chain[-1]))))


async def no_token(stage: Stage) -> Try:
    who = await stage.made()
    return Try(replace(who, chain=(*who.chain[:-1], "a.b.c")))


async def no_jwt(stage: Stage) -> Try:
    who = await stage.made()
    return Try(replace(who, chain=(*who.chain[:-1], "\u0000 not a token")))


async def too_deep(stage: Stage) -> Try:
    who = stage.child
    for _ in range(7):
        who = await who.fork(who.did)
    return Try(who)


async def too_deep_by_lineage(stage: Stage) -> Try:
    """Re-issuing does not reset how deep one is."""
    who = stage.child
    for number in range(6):
        who = await who.fork(await key(stage.signer, 0x60 + number))
    again = (await who.ask(ISSUE)).json()
    assert again["decision"] == "allow"
    who = replace(who, chain=tuple(again["chain"]))
    return Try(await who.fork(stage.grandchild))


UNPROVEN: Final[dict[Attack, tuple[str, str]]] = {
    no_root: ("untrusted_issuer", "untrusted_issuer"),
    dropped_root: ("untrusted_issuer", "chain_invalid"),
    forged_root: ("bad_signature", "bad_signature"),
    forged_link: ("bad_signature", "bad_signature"),
    no_token: ("malformed_ucan", "malformed_ucan"),
    no_jwt: ("malformed_ucan", "malformed_ucan"),
    too_deep: ("chain_too_deep", "chain_too_deep"),
    too_deep_by_lineage: ("chain_too_deep", "chain_too_deep"),
}
"""What it is called without an API key, and with one."""


@pytest.fixture(scope="module")
async def shared(
    tmp_path_factory: pytest.TempPathFactory, signer: AsyncSigner, open_plane: OpenPlane
) -> Any:
    folder = tmp_path_factory.mktemp("attacks") / "data"
    async with open_plane(folder, signer, policy=POLICY) as plane:
        yield plane


@pytest.fixture
async def stage(shared: Plane, signer: AsyncSigner) -> Stage:
    """A family of its own for each test: what is revoked stays revoked."""
    first, second, third = [await new_did(signer) for _ in range(3)]
    root = await root_of(shared, signer, first, ISSUE, ttlSeconds=600)
    return Stage(shared, signer, root, await root.fork(second), third)


def named(attack: Attack) -> str:
    return attack.__name__


async def denied(stage: Stage, tried: Try, reason: str, *, with_key: bool, root: str) -> None:
    """Send it, and look at the answer and at what was kept of it."""
    ask = tried.who.ask_with_key if with_key else tried.who.ask
    reply = await ask(tried.command, tried.resource or REPO, **(tried.more or {}))
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    assert (answer["decision"], answer["reason"]) == ("deny", reason), answer
    assert answer["explanation"]["message"]
    assert "chain" not in answer
    row = await store_access.receipt(stage.plane.system.store, DEFAULT, answer["receiptId"])
    assert row is not None
    assert (row.kind, row.decision, row.reason) == ("decision", "deny", reason)
    assert (row.agent, row.root, row.app) == (tried.who.did, root, stage.plane.app)
    assert row.cid is None


@pytest.mark.parametrize("with_key", [True, False], ids=["key", "chain"])
@pytest.mark.parametrize("attack", DECIDED, ids=named)
async def test_a_question_beyond_its_chain_is_denied_and_recorded(
    stage: Stage, attack: Attack, *, with_key: bool
) -> None:
    tried = await attack(stage)
    await denied(stage, tried, DECIDED[attack], with_key=with_key, root=stage.root.did)


@pytest.mark.parametrize("attack", [parents_chain, siblings_chain], ids=named)
async def test_another_agents_chain_is_refused(stage: Stage, attack: Attack) -> None:
    tried, root = await attack(stage), stage.root.did
    await denied(stage, tried, "audience_mismatch", with_key=True, root=root)
    await denied(stage, tried, "chain_invalid", with_key=False, root=root)


@pytest.mark.parametrize("attack", UNPROVEN, ids=named)
async def test_an_unproven_token_is_a_401_without_a_record(stage: Stage, attack: Attack) -> None:
    tried = await attack(stage)
    alone, with_key = UNPROVEN[attack]
    before = len(await stage.plane.receipts())
    reply = await tried.who.ask(tried.command)
    assert (reply.status_code, reply.json()["error_code"]) == (401, alone), reply.text
    assert reply.headers["www-authenticate"]
    assert len(await stage.plane.receipts()) == before
    await denied(stage, tried, with_key, with_key=True, root=tried.who.did)


async def test_the_unchanged_questions_are_allowed(stage: Stage) -> None:
    """The family that all of these begin with has what it should."""
    who = await stage.made()
    for ask in (who.ask_with_key, who.ask):
        assert (await ask(LIST)).json()["decision"] == "allow"
        assert (await ask(ISSUE)).json()["decision"] == "allow"


async def test_an_empty_chain_is_refused(stage: Stage) -> None:
    """An invocation without a chain proves no agent, and an API key is the app's."""
    alone = replace(stage.child, chain=())
    token = await alone.sign(LIST, {"resource": dict(REPO)})
    reply = await stage.plane.client.post(
        "/v1/authorize",
        json={"command": LIST, "resource": dict(REPO)},
        headers={"authorization": f"Bearer {token}"},
    )
    assert (reply.status_code, reply.json()["error_code"]) == (401, "chain_invalid")


async def test_revoking_an_app_revokes_all_its_grants(
    signer: AsyncSigner, open_plane: OpenPlane, tmp_path: Path
) -> None:
    async with open_plane(tmp_path / "data", signer, policy=POLICY) as plane:
        root = await root_of(plane, signer, await new_did(signer), ISSUE)
        child = await root.fork(await new_did(signer))
        who = await people.operator(plane, "*")
        reply = await plane.client.post("/v1/revocations", json={"id": plane.app}, headers=who)
        assert reply.status_code == 200
        answer = (await child.ask(LIST)).json()
        assert (answer["decision"], answer["reason"]) == ("deny", "revoked")


async def test_revoking_a_branch_does_not_affect_its_sibling(stage: Stage) -> None:
    sibling = await stage.root.fork(await new_did(stage.signer))
    await store_access.revoke(stage.plane.system.store, DEFAULT, [cid(stage.child.chain[-1])])
    assert (await (await stage.made()).ask(LIST)).json()["reason"] == "revoked"
    assert (await sibling.ask(LIST)).json()["decision"] == "allow"
