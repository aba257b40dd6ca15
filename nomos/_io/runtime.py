"""The two drivers that run flows, in threads and in tasks, and the runtimes built on them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from nomos._core.effects import Effect, Flow, Now, Pause, Send, Sign
from nomos._core.revocation_status import RevocationStatus
from nomos._core.verification import ClaimNonce, LookupRevocations
from nomos._io.signer import AsyncSigner, Signer, SignerConnection
from nomos._protocol import Request
from nomos._tracebacks import without_frames

if TYPE_CHECKING:
    from nomos._io.deadline import Deadline
    from nomos._io.http import AsyncHttp, Http

T = TypeVar("T")

Handlers = Mapping[type[Effect[Any]], Callable[[Any], Any]]
"""For a kind of effect, the function that performs it."""


@without_frames
def run_flow(flow: Flow[T], perform: Callable[[Effect[Any]], Any]) -> T:
    """Run a flow to its end; an exception of `perform` is thrown into the flow."""
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
    """`run_flow` for tasks. A cancellation is no `Exception`: it closes the flow and propagates."""
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


async def run_verification(
    flow: Flow[T],
    ask: Callable[[Request], Awaitable[object]],
    lookup: Callable[[Collection[str]], Awaitable[RevocationStatus]],
    claim_nonce: Callable[[str, str, str, int, str | None], Awaitable[bool]],
) -> T:
    """Run a flow of `nomos._core.verification` on a server, which performs its effects by these."""

    async def perform(effect: Effect[Any]) -> object:
        match effect:
            case Sign(request):
                return await ask(request)
            case LookupRevocations(ids):
                return await lookup(ids)
            case ClaimNonce(issuer, audience, nonce, expires_at, family):
                return await claim_nonce(issuer, audience, nonce, expires_at, family)
        raise TypeError(f"a flow yielded {effect!r}, which a server does not perform")

    return await run_flow_async(flow, perform)


class _Runtime:
    """What performs the effects of both runtimes.

    `signer` returns the connection to the signing binary. `check` is called before each effect; its
    exception is thrown into the flow.
    """

    def __init__(
        self,
        signer: Callable[[], SignerConnection],
        handlers: Handlers | None = None,
        *,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self._signer = signer
        self._handlers = dict(handlers or {})
        self._check = check

    def _handled(self, effect: Effect[Any]) -> Any:
        handler = self._handlers.get(type(effect))
        if handler is None:
            raise TypeError(f"a flow yielded {effect!r}, which this runtime does not perform")
        return handler(effect)


class SyncRuntime(_Runtime):
    """Runs flows in the calling thread."""

    def run(
        self, flow: Flow[T], *, http: Http | None = None, deadline: Deadline | None = None
    ) -> T:
        """Run a flow to its end; an exception of an effect is thrown into the flow.

        `http` sends its requests. `deadline` limits all effects together, and is required with
        `http`.
        """
        return run_flow(flow, lambda effect: self._perform(effect, http, deadline))

    def _perform(self, effect: Effect[Any], http: Http | None, deadline: Deadline | None) -> object:
        self._check()
        match effect:
            case Sign(request):
                left = None if deadline is None else deadline.left()
                return Signer(self._signer()).ask(request, left)
            case Send() if http is not None and deadline is not None:
                return http.send(effect, deadline)
            case Pause(seconds) if deadline is not None:
                time.sleep(deadline.pause(seconds))
                return None
            case Now():
                return time.monotonic()
        return self._handled(effect)


class AsyncRuntime(_Runtime):
    """`SyncRuntime` for asyncio and trio. Handlers may return awaitables."""

    async def run(
        self, flow: Flow[T], *, http: AsyncHttp | None = None, deadline: Deadline | None = None
    ) -> T:
        """See `SyncRuntime.run`. A cancellation closes the flow and propagates."""
        return await run_flow_async(flow, lambda effect: self._perform(effect, http, deadline))

    async def _perform(
        self, effect: Effect[Any], http: AsyncHttp | None, deadline: Deadline | None
    ) -> object:
        self._check()
        match effect:
            case Sign(request):
                left = None if deadline is None else deadline.left()
                return await AsyncSigner(self._signer()).ask(request, left)
            case Send() if http is not None and deadline is not None:
                return await http.send(effect, deadline)
            case Pause(seconds) if deadline is not None:
                await anyio.sleep(deadline.pause(seconds))
                return None
            case Now():
                return anyio.current_time()
        result = self._handled(effect)
        return await result if isawaitable(result) else result
