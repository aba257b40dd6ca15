"""`Verifier` and `AsyncVerifier`: any service checks tokens, knowing the issuer's DID and its own.

    verifier = Verifier(trusted_issuers=[ISSUER], audience=MY_DID, revocations=view)
    verified = verifier.verify(token, command="/notes/note/read", resource={"provider": "notes"})

Both run the same flows (`nomos._core.token_verification`); they differ in how each effect is
performed and in nothing else. Docstrings are complete on `Verifier`; its twin refers to them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable, iscoroutinefunction
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import anyio
import anyio.to_thread

from nomos._core.effects import Flow
from nomos._core.revocation_status import Seen
from nomos._core.stores import AsyncReplay, AsyncRevocations, Replay, Revocations
from nomos._core.token_verification import AwaitFirstSync
from nomos._core.verification import ClaimNonce, LookupRevocations
from nomos._core.verification_receipt import (
    ReportReceipt,
    VerificationRecord,
    parse_receipt,
    question_of,
)
from nomos._io.replay import MemoryReplay
from nomos._io.runtime import AsyncRuntime, SyncRuntime
from nomos._io.signer import Signer, shared
from nomos._tracebacks import without_frames
from nomos._unawaited import Asynchronous
from nomos._verifier import (
    VerifierBase,
    is_awaited,
    issuers_of,
    missing_replay_store,
    refuse_awaitable,
)
from nomos.models import Verified

__all__ = [
    "AsyncReplay",
    "AsyncRevocations",
    "AsyncVerifier",
    "MemoryReplay",
    "Replay",
    "Revocations",
    "Seen",
    "VerificationRecord",
    "Verified",
    "Verifier",
    "verify_record",
]

T = TypeVar("T")


class Verifier(VerifierBase):
    """Checks the tokens that one service is sent. It needs no network, and asks nobody.

    `trusted_issuers` are the DIDs that may root a chain, `audience` is this service's own. `leeway`
    forgives clocks that many seconds (0 to 60), `max_depth` bounds a chain (1 to 32).
    `accept_unlinked` takes chains of the hosted service, whose links do not name each other and
    whose roots name no service. All others are good at the service that the issuer named in the
    root, and only if they are closed (`meta.closed`): a verifier decides nothing by policy, also
    one that is given the DID of a PDP.

    `revocations` is where revoked tokens are looked up: an object with `among`, or a collection of
    ids, which may grow. It has to be given: `()` says that this service does not check revocation.
    A view older than `revocations_max_age` seconds refuses every token, or, with
    `on_stale_revocations="allow"`, none: what is known to be revoked is refused at any age, and a
    view that fails always refuses.

    `replay` keeps what was used: a write works once, and so does what a person approved. Without
    it, both are refused. `clock` returns Unix seconds.

    `receipt_key` is a key file (`nomos keygen` makes one) to sign a receipt of every verification
    with: `verified.record`, or `denied.record`; `on_record` is called with each. Without
    its receipt, and where `on_record` raises, nothing is allowed. `verify_record` reads them.

    A verifier may be shared by threads and used after `fork()`. It is a context manager.
    Raises `ConfigurationError`, whose `.setting` names what is wrong.
    """

    _waits: ClassVar = False

    @without_frames
    def verify(
        self,
        token: str,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        bound: bool = False,
    ) -> Verified:
        """Return what `token` proves for a call, and use it up if the call changes something.

        `command`, `resource` and `args` are what this service was really asked to do, rebuilt from
        the request: they have to equal what was signed, and every policy of the chain has to hold
        for them. A command counts as a read if the issuer signed that it is one (`meta.reads`) and
        its last segment says so (`get`, `list`, `read`, …); a read can be verified again. Call
        this last before acting.

        A token that signs no argument but its resource is for a call with any. With `bound` it has
        to sign each of `args`: another is `resource_mismatch`.

        Raises `Denied`, with a code that never changes, the hop, the field, and what would help;
        `unavailable` is the code for what cannot be known now. Raises `SignerError` when the
        binary gives no answer. Nothing is allowed then.
        """
        return self._run(self._verify_flow(token, command, resource, args, bound=bound))

    @without_frames
    def why(
        self,
        token: str,
        *,
        command: str | None = None,
        resource: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> str:
        """Return for people what `token` says, link by link, and whether it is good for a call.

        Nothing is used up, and whether it was used before is not looked at. The token itself is
        not in the text. Never raises for a bad token.
        """
        return self._run(self._explain_flow(token, command, resource, args))

    def close(self) -> None:
        """Let go of what this verifier started. Idempotent."""
        self._closed = True
        if self._follower is not None:
            self._follower.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _connect(self) -> None:
        self._runtime = SyncRuntime(
            lambda: self._link,
            {
                AwaitFirstSync: self._await_sync,
                LookupRevocations: lambda effect: self._revocations.among(effect.ids),
                ReportReceipt: self._report,
                ClaimNonce: lambda effect: _claim(self._replay, effect)(),
            },
        )

    def _run(self, flow: Flow[T]) -> T:
        return self._runtime.run(flow)

    def _await_sync(self, _: AwaitFirstSync) -> None:
        if self._follower is not None:
            self._follower.look()

    def _report(self, effect: ReportReceipt) -> None:
        if self._on_record is not None:
            refuse_awaitable(self._on_record(effect.text), "on_record")


class AsyncVerifier(Asynchronous, VerifierBase):
    """`Verifier` for asyncio and trio; see there. Nothing in it blocks the loop.

    `revocations` and `replay` may be of either colour; what is not awaited runs in a thread.
    """

    _waits: ClassVar = True

    async def verify(
        self,
        token: str,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        bound: bool = False,
    ) -> Verified:
        """See `Verifier.verify`."""
        flow = self._verify_flow(token, command, resource, args, bound=bound)
        del token  # a report of an error would show it as a local variable
        return await self._run(flow)

    async def why(
        self,
        token: str,
        *,
        command: str | None = None,
        resource: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> str:
        """See `Verifier.why`."""
        flow = self._explain_flow(token, command, resource, args)
        del token
        return await self._run(flow)

    async def close(self) -> None:
        """See `Verifier.close`."""
        self._closed = True
        if self._follower is not None:
            self._follower.close(wait=False)

    async def __aenter__(self) -> Self:
        if self._follower is not None:
            try:
                await self._follower.aready()
            except BaseException:
                await self.close()
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _connect(self) -> None:
        self._runtime = AsyncRuntime(
            lambda: self._link,
            {
                AwaitFirstSync: self._await_sync,
                LookupRevocations: self._lookup,
                ReportReceipt: self._report,
                ClaimNonce: self._claim,
            },
        )

    async def _run(self, flow: Flow[T]) -> T:
        return await self._runtime.run(flow)

    async def _await_sync(self, _: AwaitFirstSync) -> None:
        if self._follower is not None:
            await self._follower.alook()

    async def _lookup(self, effect: LookupRevocations) -> Seen:
        view = self._revocations
        method = getattr(view, "aamong", None) or view.among
        found: Seen = await _called(view, functools.partial(method, effect.ids), method)
        return found

    async def _claim(self, effect: ClaimNonce) -> bool:
        store = self._replay
        method = getattr(store, "aclaim", None) or getattr(store, "claim", None)
        claim = _claim(store, effect, method)
        won: bool = await _called(store, claim, method)
        return won

    async def _report(self, effect: ReportReceipt) -> None:
        if self._on_record is None:
            return
        if is_awaited(self._on_record):
            await self._on_record(effect.text)
        else:
            answer = await anyio.to_thread.run_sync(self._on_record, effect.text)
            refuse_awaitable(answer, "on_record")


@without_frames
def verify_record(text: str, *, issuers: Sequence[str]) -> VerificationRecord:
    """Return what a receipt of verification says, if one of `issuers` signed it.

    `issuers` are the DIDs of the verifiers whose receipts are believed, as somebody told you whom
    you trust. It needs no network and no clock. Raises `Denied` for any other text, and
    `ConfigurationError` where `issuers` are no DIDs, or none at all.
    """
    known = list(issuers_of(issuers, "issuers"))
    return parse_receipt(Signer(shared()).ask(question_of(text, known)))


async def _called(owner: Any, call: Callable[[], Any], method: Any) -> Any:
    """Call a store's method: in a thread, unless it is awaited or `instant` (it never waits)."""
    if iscoroutinefunction(method) or getattr(owner, "instant", False):
        answer = call()
    else:
        answer = await anyio.to_thread.run_sync(call)
    return await answer if isawaitable(answer) else answer


def _claim(replay: Any, use: ClaimNonce, method: Any = None) -> Callable[[], Any]:
    """Return the claim that is to be called; a store that has shares learns of the family."""
    if replay is None:
        raise missing_replay_store()
    more = {"family": use.family} if getattr(replay, "shares", False) else {}
    return functools.partial(
        method or replay.claim, use.issuer, use.audience, use.nonce, use.expires_at, **more
    )
