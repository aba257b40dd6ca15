"""A machine with a wrong clock: agents and their children still work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import pytest
from guard_kinds import GUARD_KINDS, GuardKind

from nomos import AuthGuard, errors

POLICY: Final = 'permit (principal, action in Action::"/filesystem", resource);'
LIST: Final[dict[str, Any]] = {
    "command": "/filesystem/dir/list",
    "resource": {"provider": "filesystem", "path": ""},
}
CAPABILITIES: Final = [{"with": "filesystem:///", "can": "/filesystem"}]
REAL: Final = time.time


@pytest.fixture(scope="module")
def system() -> Iterator[AuthGuard]:
    with AuthGuard.embedded(policies=POLICY) as guard:
        yield guard


@pytest.fixture(params=[75, -75, 7200, -7200], ids=lambda seconds: f"{seconds:+d}s")
def wrong(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How far this process's clock is ahead; the server keeps the right one."""
    seconds: int = request.param
    monkeypatch.setattr(time, "time", lambda: REAL() + seconds)
    return seconds


def agent_of(system: AuthGuard, guard_kind: GuardKind) -> Any:
    url, pdp = system.control_plane_url, system.pdp_url
    return guard_kind.guard(control_plane_url=url, pdp_url=pdp, api_key=system.api_key)


def listed(system: AuthGuard, headers: Mapping[str, str]) -> httpx.Response:
    url = f"{system.pdp_url}/filesystem/dir/list"
    return httpx.get(url, params={"path": ""}, headers=headers, trust_env=False)


@pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)
def test_offline_children_use_their_parents_clock_offset(
    system: AuthGuard, guard_kind: GuardKind, wrong: int
) -> None:
    agent = agent_of(system, guard_kind)
    grant = guard_kind.call(agent.authorize, command="/filesystem", resource=LIST["resource"])
    child_made = guard_kind.call(agent.fork_child, parent_chain=grant, capabilities=CAPABILITIES)
    environ = child_made.env()
    assert abs(int(environ["NOMOS_CLOCK_OFFSET"]) + wrong) <= 1
    child = guard_kind.guard.from_env(environ)
    said = listed(system, guard_kind.call(child.headers, **LIST))
    assert said.status_code == 200, said.text
    further = guard_kind.call(child.fork_child, capabilities=CAPABILITIES)
    environ = further.env({"NOMOS_CLOCK_OFFSET": "1"})
    assert abs(int(environ["NOMOS_CLOCK_OFFSET"]) + wrong) <= 1
    grandchild = guard_kind.guard.from_env(environ)
    said = listed(system, guard_kind.call(grandchild.headers, **LIST))
    assert said.status_code == 200, said.text
    for guard in (grandchild, child, agent):
        guard_kind.call(guard.close)


@pytest.mark.parametrize("guard_kind", GUARD_KINDS, ids=lambda kind: kind.name)
def test_a_child_without_an_offset_gets_it_from_the_control_plane(
    system: AuthGuard, guard_kind: GuardKind, wrong: int
) -> None:
    agent = agent_of(system, guard_kind)
    grant = guard_kind.call(agent.authorize, command="/filesystem", resource=LIST["resource"])
    child_made = guard_kind.call(agent.fork_child, parent_chain=grant, capabilities=CAPABILITIES)
    environ = child_made.env()
    del environ["NOMOS_CLOCK_OFFSET"]
    child = guard_kind.guard.from_env(environ)
    assert guard_kind.call(child.authorize, **LIST)
    said = listed(system, guard_kind.call(child.headers, **LIST))
    assert said.status_code == 200, said.text
    guard_kind.call(child.close)
    guard_kind.call(agent.close)


def test_an_expired_chain_is_reported_with_the_clock_difference(
    system: AuthGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = agent_of(system, GUARD_KINDS[0])
    grant = agent.authorize(command="/filesystem", resource=LIST["resource"], ttl_seconds=1)
    child_made = agent.fork_child(parent_chain=grant, capabilities=CAPABILITIES)
    environ = child_made.env()
    time.sleep(2)
    monkeypatch.setattr(time, "time", lambda: REAL() + 75)
    child = AuthGuard.from_env(environ)
    with pytest.raises(errors.ExpiredChain, match=r"clock is 7[456] s ahead of the control plane"):
        child.headers(**LIST)
    child._endpoint.url = "http://127.0.0.1:9"
    with pytest.raises(errors.ExpiredChain, match="Check this machine's clock"):
        child.headers(**LIST)
    agent.close()


def test_an_invalid_offset_is_named(system: AuthGuard) -> None:
    agent = agent_of(system, GUARD_KINDS[0])
    grant = agent.authorize(command="/filesystem", resource=LIST["resource"])
    child_made = agent.fork_child(parent_chain=grant, capabilities=CAPABILITIES)
    environ = child_made.env()
    for value in ("soon", "86401", "-86401", "1.5", "1e3", "999999"):
        with pytest.raises(errors.ConfigurationError) as refused:
            AuthGuard.from_env(environ | {"NOMOS_CLOCK_OFFSET": value})
        assert refused.value.setting == "NOMOS_CLOCK_OFFSET"
    agent.close()
