"""The two drivers: how a flow's effects are performed, in threads and in tasks.

These twenty lines, twice, are all that the two guards do differently.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from nomos._core.effects import Effect, Flow
from nomos._tracebacks import without_frames

T = TypeVar("T")


@without_frames
def run_flow(flow: Flow[T], perform: Callable[[Effect[Any]], Any]) -> T:
    """Run a flow to its end; what `perform` raises is thrown into the flow."""
    try:
        effect = next(flow)
        while True:
            try:
                result = perform(effect)
            except Exception as error:  # noqa: BLE001 - the flow decides what it means
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        flow.close()


@without_frames
async def run_flow_async(flow: Flow[T], perform: Callable[[Effect[Any]], Awaitable[Any]]) -> T:
    """`run_flow` for tasks. Cancellation is not an `Exception`: it closes the flow and goes on."""
    try:
        effect = next(flow)
        while True:
            try:
                result = await perform(effect)
            except Exception as error:  # noqa: BLE001 - the flow decides what it means
                effect = flow.throw(error)
            else:
                effect = flow.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        flow.close()
