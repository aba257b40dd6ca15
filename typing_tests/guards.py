"""`AuthGuard`: a question, its answer, the call, and what follows."""

from datetime import datetime
from pathlib import Path
from typing import Any, assert_type

from nomos import (
    Approval,
    ApprovalState,
    AuthGuard,
    Chain,
    Decision,
    Explanation,
    Grant,
    Receipt,
    Revocation,
    Vote,
)

APP = {"provider": "github", "owner": "acme", "repo": "app"}


def settings() -> None:
    AuthGuard(
        control_plane_url="https://nomos.example.com",
        api_key="nomos_app_…",
        pdp_url="https://pdp.example.com",
        agent_key_file=Path("agent.key"),
        parent=None,
        failure_mode="open",
        timeout=3,
        allow_insecure=["pdp.internal"],
    )
    assert_type(AuthGuard.from_env(), AuthGuard)
    assert_type(AuthGuard.from_env({"NOMOS_CONTROL_URL": "https://nomos.example.com"}), AuthGuard)
    with AuthGuard.embedded(policies=Path("policies"), services={"tickets": "did:key:…"}) as guard:
        assert_type(guard, AuthGuard)
        assert_type(guard.control_plane_url, str)
        assert_type(guard.pdp_url, str | None)
        assert_type(guard.workspace, Path | None)
        assert_type(guard.api_key, str | None)


def question(guard: AuthGuard) -> None:
    grant = guard.authorize(
        command="/github/issue/list",
        resource=APP,
        args={"state": "open"},
        ttl_seconds=60,
        audience="did:key:…",
        purpose="daily summary",
        context={"ticket": 7},
        idempotency_key="k",
    )
    assert_type(grant, Grant)
    assert_type(grant.require(), Grant)
    assert_type(bool(grant), bool)
    assert_type(grant.decision, Decision)
    assert_type(grant.ucan, str | None)
    assert_type(grant.reason, str | None)
    assert_type(grant.explanation, Explanation)
    assert_type(grant.explanation.policies, tuple[str, ...])
    assert_type(grant.chain, Chain)
    assert_type(grant.chain[0], str)
    assert_type(grant.chain[1:], Chain)
    assert_type(grant.resource, dict[str, Any])
    assert_type(grant.expires_at, datetime | None)
    assert_type(grant.degraded, bool)
    assert_type(grant.headers(args={"state": "open"}), dict[str, str])
    assert_type(guard.headers(command="/github/issue/list", resource=APP), dict[str, str])
    assert_type(guard.did(), str)


def people(guard: AuthGuard, grant: Grant) -> None:
    if grant.decision == "requires_step_up" and grant.approval_envelope_id is not None:
        approval = guard.wait_for_approval(grant.approval_envelope_id, timeout=900)
        assert_type(approval, Approval)
        assert_type(approval.state, ApprovalState)
        assert_type(approval.votes, tuple[Vote, ...])
        assert_type(approval.expires_at, datetime)
        assert_type(guard.approvals.list("all", limit=3), tuple[Approval, ...])
        assert_type(guard.approvals.get(approval.id), Approval)
        decided = guard.approvals.decide(approval.id, approve=True, version=approval.version)
        assert_type(decided, Approval)


def afterwards(guard: AuthGuard, grant: Grant) -> None:
    assert_type(guard.revoke(grant, reason="done"), Revocation)
    assert_type(guard.revoke("app_…").seq, int)
    if grant.receipt_id is not None and grant.issuer is not None:
        receipt = guard.receipt(grant.receipt_id)
        assert_type(receipt, Receipt)
        assert_type(receipt.verify(issuer=grant.issuer), Receipt)
        assert_type(receipt.decision, str | None)
    guard.close()
