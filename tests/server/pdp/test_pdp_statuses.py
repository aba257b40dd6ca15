"""The HTTP status of each refusal."""

from __future__ import annotations

from typing import get_args

import pytest

from nomos.models import DenyReason
from nomos.server.pdp.statuses import STATUS_BY_REASON, PdpError, denied


def members(annotation: object) -> set[str]:
    """The strings in a union of literals, however deep it is nested."""
    if isinstance(annotation, str):
        return {annotation}
    return set().union(*(members(part) for part in get_args(annotation)))


def test_every_reason_has_a_status_and_no_status_is_for_another_reason() -> None:
    assert set(STATUS_BY_REASON) == members(DenyReason)
    assert len(STATUS_BY_REASON) == 23


def test_a_reason_is_never_answered_as_a_success() -> None:
    assert set(STATUS_BY_REASON.values()) == {401, 403, 503}


@pytest.mark.parametrize("reason", sorted(STATUS_BY_REASON))
def test_only_a_401_has_a_challenge(reason: DenyReason) -> None:
    refusal = denied(reason, "no")
    assert (refusal.status, refusal.code, refusal.reason) == (
        STATUS_BY_REASON[reason],
        reason,
        reason,
    )
    assert ("www-authenticate" in refusal.headers) == (STATUS_BY_REASON[reason] == 401)


@pytest.mark.parametrize("reason", sorted(STATUS_BY_REASON))
def test_a_denial_has_a_fix_for_the_caller(reason: DenyReason) -> None:
    fix = denied(reason, "no").members.get("fix")
    assert (fix is None) == (reason == "policy_error")
    assert not any(word in str(fix) for word in ("verifier", "max_depth", "leeway"))
    assert denied(reason, "no", fix="do this").members.get("fix") == "do this"


def test_a_failure_is_not_a_decision() -> None:
    assert PdpError("not_found", "nothing there").reason is None
