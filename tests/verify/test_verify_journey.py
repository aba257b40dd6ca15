"""A service accepts what a real control plane grants, and writes once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from verifiers import Store, VerifierKind

from nomos import AsyncVerifier, AuthGuard, MemoryReplayStore, Verifier

POLICY = """
@id("agents") permit (principal, action in Action::"/github/issue", resource);

@id("careful") @step_up("lead") @reason("a person looks at new issues first")
forbid (principal, action == Action::"/github/issue/create", resource)
unless { context.cosigned };
"""

ISSUES = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
APP = {"provider": "github", "owner": "acme", "repo": "app"}
READ: dict[str, Any] = {"command": "/github/issue/list", "resource": APP}
WRITE: dict[str, Any] = {
    "command": "/github/issue/create",
    "resource": APP,
    "args": {"title": "It breaks"},
}
COMMENT: dict[str, Any] = {
    "command": "/github/issue/comment",
    "resource": {**APP, "issue_number": 1},
    "args": {"body": "It does."},
}


@pytest.fixture(scope="module")
def guard() -> Iterator[AuthGuard]:
    with AuthGuard.embedded(policies=POLICY, services={"issues": ISSUES}) as guard:
        yield guard


def settings(guard: AuthGuard) -> dict[str, Any]:
    """The settings of a service: the issuer's DID, its own, and a replay store."""
    grant = guard.authorize(audience=ISSUES, **READ)
    return {
        "trusted_issuers": [grant.issuer],
        "audience": grant.audience,
        "revocations": (),
        "replay": MemoryReplayStore(),
        "clock": time.time,
    }


def test_a_granted_call_is_accepted(verifier_kind: VerifierKind, guard: AuthGuard) -> None:
    grant = guard.authorize(audience=ISSUES, **READ)
    options = settings(guard)
    verified = verifier_kind.verify(grant.ucan, READ, **options)
    assert verified.receipt_id == grant.receipt_id
    assert verified.agent == guard.did()
    assert verified.root == grant.issuer
    fresh = grant.headers()["authorization"].removeprefix("Bearer ")
    assert verifier_kind.verify(fresh, READ, **options).cid != verified.cid
    assert verifier_kind.denied(grant.ucan, WRITE, **options).code == "resource_mismatch"


def test_an_approved_call_is_accepted_once_for_any_number_of_signatures(
    verifier_kind: VerifierKind, guard: AuthGuard
) -> None:
    asked = guard.authorize(audience=ISSUES, **WRITE, purpose=verifier_kind.name)
    if asked.decision == "requires_step_up":
        guard.approvals.decide(str(asked.approval_envelope_id), approve=True)
    grant = guard.authorize(
        **WRITE,
        audience=ISSUES,
        purpose=verifier_kind.name,
        cosigner_envelope_id=asked.approval_envelope_id,
    ).require()
    options = settings(guard)
    other = {**WRITE, "args": {"title": "Another"}}
    assert verifier_kind.denied(grant.ucan, other, **options).code in (
        "resource_mismatch",
        "resource_out_of_scope",
    )
    assert verifier_kind.verify(grant.ucan, WRITE, **options)
    fresh = grant.headers()["authorization"].removeprefix("Bearer ")
    for token in (grant.ucan, fresh):
        assert verifier_kind.denied(token, WRITE, **options).code == "approval_already_used"


def test_a_write_works_once_per_signature(verifier_kind: VerifierKind, guard: AuthGuard) -> None:
    grant = guard.authorize(audience=ISSUES, **COMMENT).require()
    options = settings(guard)
    assert verifier_kind.verify(grant.ucan, COMMENT, **options)
    assert verifier_kind.denied(grant.ucan, COMMENT, **options).code == "replayed"
    fresh = grant.headers()["authorization"].removeprefix("Bearer ")
    assert verifier_kind.verify(fresh, COMMENT, **options)


def test_a_childs_call_is_accepted_within_its_chain(guard: AuthGuard) -> None:
    parent = guard.authorize(audience=ISSUES, **READ).require()
    wanted = [{"with": "github://acme/app", "can": "issue:list"}]
    with (
        guard.fork_child(parent_chain=parent.chain, capabilities=wanted) as child,
        AuthGuard.from_env(child.env()) as theirs,
    ):
        token = theirs.headers(**READ, audience=ISSUES)["authorization"].removeprefix("Bearer ")
    options = settings(guard)
    with Verifier(**options) as verifier:
        verified = verifier.verify(token, **READ)
    assert verified.depth == 2
    assert verified.agent != guard.did()


def test_one_async_verifier_serves_asyncio_and_trio_loops(guard: AuthGuard) -> None:
    verifier = AsyncVerifier(**settings(guard))
    token = str(guard.authorize(audience=ISSUES, **READ).ucan)

    async def several() -> int:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(one)
        return len(seen)

    async def one() -> None:
        seen.append((await verifier.verify(token, **READ)).cid)

    seen: list[str] = []
    for backend, count in (("asyncio", 10), ("trio", 20), ("asyncio", 30)):
        assert anyio.run(several, backend=backend) == count


class Slow(Store):
    def claim(self, issuer: str, audience: str, nonce: str, expires_at: int) -> Any:
        time.sleep(0.3)
        return super().claim(issuer, audience, nonce, expires_at)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_slow_store_does_not_block_the_loop(guard: AuthGuard, backend: str) -> None:
    options = {**settings(guard), "replay": Slow()}
    token = guard.authorize(audience=ISSUES, **COMMENT).ucan
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.01)
            ticks += 1

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            assert await AsyncVerifier(**options).verify(str(token), **COMMENT)
            tasks.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert ticks >= 5


def test_a_grant_for_the_pdp_is_refused_by_services(
    verifier_kind: VerifierKind, guard: AuthGuard
) -> None:
    """Also by one that has the DID of the PDP: it decides nothing by policy."""
    grant = guard.authorize(**READ).require()
    options = {**settings(guard), "audience": grant.audience}
    denied = verifier_kind.denied(grant.ucan, READ, **options)
    assert (denied.code, denied.hop, denied.field) == ("audience_mismatch", 0, "meta.closed")
    assert verifier_kind.denied(grant.ucan, READ, **settings(guard)).code == "audience_mismatch"
