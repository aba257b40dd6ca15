"""`AsyncAuthGuard`: the same calls as in `guards.py`, awaited."""

from typing import assert_type

from nomos import (
    Approval,
    AsyncAuthGuard,
    AsyncGrant,
    AsyncReceipt,
    Chain,
    Child,
    Decision,
    Revocation,
)

APP = {"provider": "github", "owner": "acme", "repo": "app"}


async def settings() -> None:
    async with AsyncAuthGuard.from_env() as guard:
        assert_type(guard, AsyncAuthGuard)
    assert_type(
        AsyncAuthGuard.embedded(policies="permit (principal, action, resource);"), AsyncAuthGuard
    )


async def question(guard: AsyncAuthGuard) -> None:
    grant = await guard.authorize(command="/github/issue/list", resource=APP)
    assert_type(grant, AsyncGrant)
    assert_type(grant.require(), AsyncGrant)
    assert_type(grant.decision, Decision)
    assert_type(grant.chain, Chain)
    assert_type(await grant.headers(), dict[str, str])
    assert_type(await guard.headers(command="/github/issue/list", resource=APP), dict[str, str])
    assert_type(await guard.did(), str)


async def people(guard: AsyncAuthGuard) -> None:
    assert_type(await guard.wait_for_approval("env_…"), Approval)
    assert_type(await guard.approvals.list(), tuple[Approval, ...])
    assert_type(await guard.approvals.get("env_…"), Approval)
    assert_type(await guard.approvals.decide("env_…", approve=False, reason="no"), Approval)


async def afterwards(guard: AsyncAuthGuard, grant: AsyncGrant) -> None:
    assert_type(await guard.revoke(grant), Revocation)
    receipt = await guard.receipt("evt_…")
    assert_type(receipt, AsyncReceipt)
    assert_type(await receipt.verify(issuer="did:key:…"), AsyncReceipt)
    child = await guard.fork_child(
        parent_chain=grant, capabilities=[{"with": "github://acme/app", "can": "issue:list"}]
    )
    assert_type(child, Child)
    await guard.close()
