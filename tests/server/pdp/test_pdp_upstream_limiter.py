"""A slow upstream: heavy callers wait, within bounds, and others do not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from nomos.server.pdp import upstream_limiter
from nomos.server.pdp.statuses import PdpError
from nomos.server.pdp.upstream_limiter import OF_AGENT, OF_APP, OF_PROVIDER, UpstreamLimiter

if TYPE_CHECKING:
    from server.pdp.conftest import World


class Calls:
    """Calls that stay at the upstream until they are let go."""

    def __init__(self, wait: float = 0.2) -> None:
        self.lanes = UpstreamLimiter(wait)
        self.go = asyncio.Event()
        self.there = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def call(self, provider: str, app: str, agent: str) -> None:
        async with self.lanes.admit(provider, app, agent):
            self.there += 1
            await self.go.wait()
            self.there -= 1

    def start(self, number: int, provider: str = "p", app: str = "a", agent: str = "x") -> None:
        self.tasks += [asyncio.create_task(self.call(provider, app, agent)) for _ in range(number)]

    async def ended(self) -> list[Any]:
        return await asyncio.gather(*self.tasks, return_exceptions=True)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_an_agent_has_its_share_and_others_pass_at_once() -> None:
    async def work() -> None:
        calls = Calls()
        calls.start(70)
        await asyncio.sleep(0.01)
        assert calls.there == OF_AGENT
        calls.start(1, agent="y")
        calls.start(1, app="b", agent="z")
        await asyncio.sleep(0.01)
        assert calls.there == OF_AGENT + 2
        await asyncio.sleep(0.4)
        calls.go.set()
        refused = [each for each in await calls.ended() if each is not None]
        assert len(refused) == 70 - OF_AGENT
        for each in refused:
            assert isinstance(each, PdpError)
            assert (each.status, each.headers) == (503, {"retry-after": "2"})
            assert f"{OF_AGENT} calls of this agent are already waiting for p" in each.message
        assert not calls.lanes._taken
        assert not calls.lanes._waiting

    run(work())


def test_an_app_with_many_agents_has_its_share() -> None:
    async def work() -> None:
        calls = Calls()
        for number in range(70):
            calls.start(1, agent=f"x{number}")
        calls.start(1, app="b", agent="y")
        calls.start(1, provider="q")
        await asyncio.sleep(0.01)
        assert calls.there == OF_APP + 2
        calls.go.set()
        await calls.ended()

    run(work())


def test_a_provider_does_not_take_the_places_of_another() -> None:
    async def work() -> None:
        calls = Calls()
        for number in range(2 * OF_PROVIDER):
            calls.start(1, app=f"a{number}", agent=f"x{number}")
        calls.start(1, provider="q")
        await asyncio.sleep(0.01)
        assert calls.there == OF_PROVIDER + 1
        calls.go.set()
        assert await calls.ended() == [None] * (2 * OF_PROVIDER + 1)

    run(work())


def test_a_cancelled_call_takes_no_place() -> None:
    async def work() -> None:
        calls = Calls(wait=5)
        calls.start(OF_AGENT + 3)
        await asyncio.sleep(0.01)
        for task in calls.tasks[OF_AGENT:]:
            task.cancel()
        calls.go.set()
        await calls.ended()
        assert not calls.lanes._taken
        assert not calls.lanes._waiting

    run(work())


def test_a_place_given_to_a_cancelled_call_is_passed_on() -> None:
    async def work() -> None:
        calls = Calls(wait=5)
        calls.start(OF_AGENT + 2)
        await asyncio.sleep(0.01)
        calls.tasks[0].cancel()
        await asyncio.sleep(0)
        calls.tasks[OF_AGENT].cancel()
        await asyncio.sleep(0.05)
        assert calls.there == OF_AGENT + 1  # the cancelled one did not count itself down
        calls.go.set()
        await calls.ended()
        assert not calls.lanes._taken

    run(work())


def test_the_number_of_waiting_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_limiter, "MOST_WAITING", 2)

    async def work() -> None:
        calls = Calls(wait=5)
        calls.start(OF_AGENT + 5)
        await asyncio.sleep(0.01)
        calls.go.set()
        assert sum(isinstance(each, PdpError) for each in await calls.ended()) == 3

    run(work())


def test_a_call_refused_by_the_limiter_does_not_use_its_token(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_limiter, "OF_AGENT", 0)
    resource = {"provider": "github", "owner": "acme", "repo": "app"}
    args = {"title": "New"}
    token = world.token("/github/issue/create", resource, args)
    began = time.monotonic()

    def send() -> Any:
        body = {"owner": "acme", "repo": "app", **args}
        return world.call("POST", "/github/issue/create", token, json=body)

    said = send()
    assert time.monotonic() - began < 15
    assert (said.status_code, said.json()["error_code"]) == (503, "unavailable")
    assert said.headers["retry-after"] == "2"
    assert "calls of this agent are already waiting for github" in said.json()["error"]
    monkeypatch.undo()
    assert send().status_code == 200


def test_a_slow_upstream_does_not_hold_up_another_agent(world: World) -> None:
    world.upstream.release.clear()
    resource = {"provider": "github", "owner": "acme", "repo": "silent"}
    token = world.token("/github/repo/read", resource)
    params = {"owner": "acme", "repo": "silent"}
    threads = [
        threading.Thread(
            target=lambda: world.call("GET", "/github/repo/read", token, params=params)
        )
        for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    other = {"provider": "github", "owner": "acme", "repo": "app"}
    root = world.grant("/github/repo/read", other, to="child")
    mine = world.invoke("/github/repo/read", other, {}, [root.jwt], by="child")
    said = world.call("GET", "/github/repo/read", mine, params={"owner": "acme", "repo": "app"})
    assert said.status_code == 200
    world.upstream.release.set()
    for thread in threads:
        thread.join()
