"""One test for both guards: the same calls, made from a thread or from a loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from nomos import AsyncAuthGuard, AuthGuard

T = TypeVar("T")


@dataclass(frozen=True)
class GuardKind:
    """`backend` is None for the sync guard, else the loop that each call runs in."""

    name: str
    backend: str | None

    @property
    def guard(self) -> type[Any]:
        return AuthGuard if self.backend is None else AsyncAuthGuard

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Call a method; for the async guard in a new loop, awaited."""
        if self.backend is None:
            return function(**arguments)
        return anyio.run(_awaited, function, arguments, backend=self.backend)


async def _awaited(function: Callable[..., Awaitable[T]], arguments: dict[str, Any]) -> T:
    return await function(**arguments)


GUARD_KINDS = [GuardKind("sync", None), GuardKind("asyncio", "asyncio"), GuardKind("trio", "trio")]
