"""How long a task that ticks every 10 ms waits while a guard makes 1,000 calls, 50 at a time."""

from __future__ import annotations

import time

import anyio
from authorizing import QUESTION

from nomos import AsyncAuthGuard, AuthGuard

POLICY = "permit (principal, action, resource);"


async def run(server: AuthGuard) -> tuple[float, float, float]:
    """Return seconds for all calls, and the ticker's longest wait busy and idle."""
    waits: list[float] = []

    async def tick() -> None:
        while True:
            began = time.perf_counter()
            await anyio.sleep(0.01)
            waits.append(time.perf_counter() - began - 0.01)

    async with (
        AsyncAuthGuard(control_plane_url=server.control_plane_url, api_key=server.api_key) as guard,
        anyio.create_task_group() as tasks,
    ):
        await guard.authorize(**QUESTION)
        tasks.start_soon(tick)
        await anyio.sleep(0.5)
        idle = max(waits)
        waits.clear()
        began = time.perf_counter()

        async def work() -> None:
            for _ in range(20):
                await guard.authorize(**QUESTION)

        async with anyio.create_task_group() as workers:
            for _ in range(50):
                workers.start_soon(work)
        took = time.perf_counter() - began
        tasks.cancel_scope.cancel()
    return took, max(waits), idle


def main() -> None:
    with AuthGuard.embedded(policies=POLICY) as server:
        server.authorize(**QUESTION)
        for backend in ("asyncio", "trio"):
            took, busy, idle = anyio.run(run, server, backend=backend)
            print(
                f"{backend:8} 1000 calls in {took:.1f} s; "
                f"longest wait of the ticker {busy * 1000:.0f} ms (idle {idle * 1000:.0f} ms)"
            )


if __name__ == "__main__":
    main()
