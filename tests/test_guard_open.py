"""`failure_mode="open"`: a read continues in an outage, unless it was denied before."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any, Final

import pytest
from guard_kinds import GUARD_KINDS, GuardKind
from hostile import Reply, control_plane

from nomos import AuthGuard, FailOpenWarning, errors

READ: Final = {
    "command": "/github/issue/list",
    "resource": {"provider": "github", "owner": "acme", "repo": "app"},
}
ELSEWHERE: Final = READ | {"resource": {"provider": "github", "owner": "acme", "repo": "other"}}
DENY: Final = {"decision": "deny", "reason": "policy_denied", "receiptId": "evt_1"}
STEP_UP: Final = {
    "decision": "requires_step_up",
    "receiptId": "evt_1",
    "approvalEnvelopeId": "env_1",
}
KEY: Final = "nomos_app_x_y"


@pytest.fixture(params=GUARD_KINDS, ids=lambda kind: kind.name)
def guard_kind(request: pytest.FixtureRequest) -> GuardKind:
    found: GuardKind = request.param
    return found


def goes_on(guard_kind: GuardKind, guard: Any, **question: Any) -> bool:
    """Whether a question goes on; what is raised otherwise says that there was a refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FailOpenWarning)
        try:
            grant = guard_kind.call(guard.authorize, **question)
        except errors.NomosError as refused:
            if "does not allow it" not in str(refused):
                raise
            return False
    return bool(grant.degraded)


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(body=DENY),
        Reply(body=DENY | {"reason": "approval_expired"}),
        Reply(body=STEP_UP),
        Reply(400, {"error": "no", "error_code": "invalid_request"}),
        Reply(404, {"error": "no", "error_code": "not_found"}),
        Reply(409, {"error": "no", "error_code": "idempotency_conflict"}),
        Reply(body={"decision": "deny", "receiptId": 7}),
    ],
)
def test_a_denial_is_remembered_by_command_and_resource(
    guard_kind: GuardKind, refusal: Reply
) -> None:
    with control_plane(refusal, Reply(500)) as plane:
        guard = guard_kind.guard(control_plane_url=plane.url, api_key=KEY, failure_mode="open")
        with contextlib.suppress(errors.ControlPlaneError):
            assert not guard_kind.call(guard.authorize, **READ, args={"state": "open"})
        assert not goes_on(guard_kind, guard, **READ)
        assert not goes_on(guard_kind, guard, **READ, args={"state": "all"}, purpose="please")
        assert goes_on(guard_kind, guard, **ELSEWHERE)
        guard_kind.call(guard.close)


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(body=DENY | {"reason": "revoked"}),
        Reply(401, {"error": "no", "error_code": "invalid_api_key"}),
        Reply(403, {"error": "no", "error_code": "app_disabled"}),
    ],
)
def test_a_rejected_caller_gets_no_reads_until_the_next_decision(
    guard_kind: GuardKind, refusal: Reply
) -> None:
    with control_plane(refusal, Reply(500), Reply(body=DENY), Reply(500)) as plane:
        guard = guard_kind.guard(control_plane_url=plane.url, api_key=KEY, failure_mode="open")
        with contextlib.suppress(errors.ControlPlaneError):
            guard_kind.call(guard.authorize, **READ)
        assert not goes_on(guard_kind, guard, **ELSEWHERE)
        assert not guard_kind.call(guard.authorize, **READ)
        assert goes_on(guard_kind, guard, **ELSEWHERE)
        guard_kind.call(guard.close)


def test_an_allow_followed_by_a_denial_is_not_reused(guard_kind: GuardKind) -> None:
    policy = 'permit (principal, action == Action::"/github/issue/list", resource);'
    with AuthGuard.embedded(policies=policy) as system:
        guard = guard_kind.guard(
            control_plane_url=system.control_plane_url, api_key=system.api_key, failure_mode="open"
        )
        assert guard_kind.call(guard.authorize, **READ)
        with control_plane(Reply(body=DENY), Reply(500)) as plane:
            guard._endpoint.url = plane.url
            assert not guard_kind.call(guard.authorize, **READ, args={"state": "all"})
            assert not goes_on(guard_kind, guard, **READ)
        guard._endpoint.url = system.control_plane_url
        assert guard_kind.call(guard.authorize, **READ, args={"state": "all"})
        with control_plane(Reply(500)) as plane:
            guard._endpoint.url = plane.url
            assert goes_on(guard_kind, guard, **READ)
        guard_kind.call(guard.close)


def test_a_denial_is_remembered_without_the_binary(
    guard_kind: GuardKind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with control_plane(Reply(body=DENY), Reply(500)) as plane:
        guard = guard_kind.guard(control_plane_url=plane.url, api_key=KEY, failure_mode="open")
        assert not guard_kind.call(guard.authorize, **READ)
        monkeypatch.setenv("NOMOS_UCAN_BIN", str(tmp_path / "gone"))
        guard._did = guard._entered = None
        guard._linked = None
        assert not goes_on(guard_kind, guard, **READ)
        monkeypatch.undo()
