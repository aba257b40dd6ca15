"""Services of an embedded server: registered at its start, and audiences of grants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nomos import AsyncAuthGuard, AuthGuard, ConfigurationError

SERVICE = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
OTHER = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
POLICY = """
@id("agents") permit(principal, action in Action::"/github/issue", resource is Github);
@id("archived") forbid(principal, action, resource is Github) when { resource.repo == "archive" };
"""
REPO = {"provider": "github", "owner": "acme", "repo": "app"}


def test_a_service_is_an_audience_of_closed_grants(tmp_path: Path) -> None:
    for _ in range(2):  # the second time it is known already
        with AuthGuard.embedded(
            policies=POLICY, data=tmp_path / "data", services={"tickets": SERVICE}
        ) as guard:
            grant = guard.authorize(command="/github/issue", resource=REPO, audience=SERVICE)
            assert grant.require().audience == SERVICE
            open_ = {"provider": "github", "owner": "acme"}
            grant = guard.authorize(command="/github/issue", resource=open_, audience=SERVICE)
            assert (grant.decision, grant.reason) == ("deny", "policy_denied")
            [found] = grant.explanation.open
            assert (found.policy, found.field) == ("archived", "resource.repo")
            assert "Name resource.repo in the resource" in str(grant.explanation.message)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_async_guard_accepts_services() -> None:
    async with AsyncAuthGuard.embedded(policies=POLICY, services={"tickets": SERVICE}) as guard:
        grant = await guard.authorize(command="/github/issue/list", resource=REPO, audience=SERVICE)
        assert grant.audience == SERVICE


WRONG: dict[str, tuple[Any, str]] = {
    "a name": ({"Tickets": SERVICE}, "1 to 63 lower-case letters"),
    "the server's own": ({"pdp": SERVICE}, "1 to 63 lower-case letters"),
    "no DID": ({"tickets": "https://tickets.example"}, "must have the DID"),
    "no text": ({"tickets": 7}, "must have the DID"),
    "one DID twice": ({"tickets": SERVICE, "board": SERVICE}, "the same DID"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_invalid_service_is_refused(name: str) -> None:
    services, says = WRONG[name]
    with pytest.raises(ConfigurationError, match=says) as failed:
        AuthGuard.embedded(policies=POLICY, services=services)
    assert failed.value.setting == "services"


def test_a_duplicate_service_name_stops_the_server(tmp_path: Path) -> None:
    with AuthGuard.embedded(
        policies=POLICY, data=tmp_path / "data", services={"tickets": SERVICE}
    ) as guard:
        guard.authorize(command="/github/issue/list", resource=REPO)
    with (
        AuthGuard.embedded(
            policies=POLICY, data=tmp_path / "data", services={"tickets": OTHER}
        ) as guard,
        pytest.raises(Exception, match="service tickets: its name is another service's"),
    ):
        guard.authorize(command="/github/issue/list", resource=REPO)
