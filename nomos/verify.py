"""`Verifier` and `AsyncVerifier`: verification of tokens in any service; `verify_receipt`.

    verifier = Verifier(trusted_issuers=[ISSUER], audience=MY_DID, revocations=view)
    verified = verifier.verify(token, command="/notes/note/read", resource={"provider": "notes"})

Both classes run the same flows (`nomos._core.token_verification`) and differ only in how they
perform effects. The docstrings of `Verifier` are complete; `AsyncVerifier` refers to them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable, iscoroutinefunction
from typing import Any, ClassVar, Self, TypeVar

import anyio
import anyio.to_thread

from nomos._core.effects import Flow
from nomos._core.revocation_status import RevocationStatus
from nomos._core.stores import AsyncReplayStore, AsyncRevocationStore, ReplayStore, RevocationStore
from nomos._core.token_verification import AwaitFirstSync
from nomos._core.verification import ClaimNonce, LookupRevocations
from nomos._core.verification_receipt import (
    ReportReceipt,
    VerificationReceipt,
    parse_receipt,
    question_of,
)
from nomos._io.replay import MemoryReplayStore
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
    "AsyncReplayStore",
    "AsyncRevocationStore",
    "AsyncVerifier",
    "MemoryReplayStore",
    "ReplayStore",
    "RevocationStatus",
    "RevocationStore",
    "VerificationReceipt",
    "Verified",
    "Verifier",
    "verify_receipt",
]

T = TypeVar("T")


class Verifier(VerifierBase):
    """Verifies the tokens that one service receives. Needs no network.

    `docs/verification.md` lists the rules (V1 to V9) in the order in which they are checked.

    It takes:

    - `trusted_issuers`: the DIDs that may sign the root of a chain (V6.1), at least one.
    - `audience`: the DID of this service (V8.2; RFC 8725, section 3.9). The service of a token is
      the one that its issuer named in the root. The root must also say `meta.closed: true`, since a
      verifier evaluates no Cedar policy. This holds for the DID of a PDP, too.
    - `max_depth`: the longest chain, 1 to 32 delegations, counted with those that the root replaces
      (V1.1). Default: 8.
    - `leeway`: tolerated clock difference in seconds, 0 to 60 (V4.2, V4.3; RFC 7519, section
      4.1.4). Default: 0.
    - `revocations`: where revocations are looked up (V7.1): an object with a method `among`, or a
      collection of ids, which may grow. Required: `()` states that this service does not check
      revocation.
    - `revocations_max_age`: the maximum age of the revocation view in seconds, 0 to 86,400 (V7.2).
      Default: 5.
    - `on_stale_revocations`: `"refuse"` (default) rejects every token while the view is older than
      that; `"allow"` accepts an older view. In both cases known revocations are enforced at any
      age, and a lookup that fails, or a view that was never complete, rejects the token.
    - `replay`: the replay store, for what works once: writes, and calls with an approval (V9).
      Without one, both are rejected.
    - `allow_missing_prf`: accept chains of the hosted service, whose links do not name each other
      and whose roots name no service. Default: False.
    - `receipt_key`: the path of a key file (`nomos keygen` makes one). Every verification is then
      signed as a receipt: `verified.record` or `denied.record`, to be read with `verify_receipt`.
      If the receipt cannot be signed, the call is not allowed.
    - `on_receipt`: a function that is called with each receipt; needs `receipt_key`. If it raises,
      the call is not allowed.
    - `clock`: a function that returns Unix time in seconds. Default: `time.time`.

    Raises `ConfigurationError` for an invalid argument; its `.setting` is the argument's name.

    Threads may share a verifier, and it may be used after `fork()`. It is a context manager that
    calls `close()`.
    """

    _can_await: ClassVar = False

    @without_frames
    def verify(
        self,
        token: str,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        require_signed_args: bool = False,
    ) -> Verified:
        """Verify `token` for a call, and claim its nonce if the call changes something.

        `command`, `resource` and `args` are the call that this service is about to perform, taken
        from the request itself. They must equal what was signed, and every policy of the chain must
        hold for them (V8.4, V8.5). Call this last before the action.

        A token is for one call (V9), unless it is a read. A command is a read if the issuer signed
        that it is (`meta.reads`) and its last segment is a reading word (`get`, `list`, `read`, …).
        A read may be verified again, unless it has an approval.

        A token that signs no arguments is valid for a call with any. With
        `require_signed_args=True`, it must sign each of `args`; otherwise the code is
        `resource_mismatch`.

        Returns what was verified. Raises:

        - `Denied`: the call is not allowed. `code` is stable; `hop`, `field` and `fix` say where
          the fault is and what to do. `unavailable` means that a check could not be completed, as
          when the replay store fails, and `revocations_stale` that the revocation view is too old.
        - `SignerError`: the signing binary gave no answer. The call is not allowed.
        - `ConfigurationError`: an argument has the wrong type or form, or the verifier is closed.
        """
        return self._run(
            self._verify_flow(
                token, command, resource, args, require_signed_args=require_signed_args
            )
        )

    @without_frames
    def explain(
        self,
        token: str,
        *,
        command: str | None = None,
        resource: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> str:
        """Describe what `token` says, link by link, and whether it is valid for a call, as text.

        The arguments are those of `verify`; without `command`, the token is checked for no call. No
        nonce is claimed, and earlier use is not checked. The text does not contain the token. An
        invalid token raises nothing. Raises `ConfigurationError` as `verify` does, and for
        `resource` or `args` without `command`.
        """
        return self._run(self._explain_flow(token, command, resource, args))

    def close(self) -> None:
        """Stop the thread of `from_control_plane`. Idempotent. `verify` then raises."""
        self._closed = True
        if self._sync is not None:
            self._sync.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> None:
        self._runtime = SyncRuntime(
            lambda: self._link,
            {
                AwaitFirstSync: self._await_sync,
                LookupRevocations: lambda effect: self._revocations.lookup(effect.ids),
                ReportReceipt: self._report,
                ClaimNonce: lambda effect: _claim(self._replay, effect)(),
            },
        )

    def _run(self, flow: Flow[T]) -> T:
        return self._runtime.run(flow)

    def _await_sync(self, _: AwaitFirstSync) -> None:
        if self._sync is not None:
            self._sync.look()

    def _report(self, effect: ReportReceipt) -> None:
        if self._on_receipt is not None:
            refuse_awaitable(self._on_receipt(effect.text), "on_receipt")


class AsyncVerifier(Asynchronous, VerifierBase):
    """`Verifier` for asyncio and trio, with the same arguments. It never blocks the event loop.

    The methods of `revocations` and `replay`, and `on_receipt`, may be sync or async; sync ones run
    in a thread. `verify` and `explain` are awaited.
    """

    _can_await: ClassVar = True

    async def verify(
        self,
        token: str,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        require_signed_args: bool = False,
    ) -> Verified:
        """See `Verifier.verify`."""
        flow = self._verify_flow(
            token, command, resource, args, require_signed_args=require_signed_args
        )
        del token  # a report of an error would show it as a local variable
        return await self._run(flow)

    async def explain(
        self,
        token: str,
        *,
        command: str | None = None,
        resource: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
    ) -> str:
        """See `Verifier.explain`."""
        flow = self._explain_flow(token, command, resource, args)
        del token
        return await self._run(flow)

    async def close(self) -> None:
        """See `Verifier.close`."""
        self._closed = True
        if self._sync is not None:
            self._sync.close(wait=False)

    async def __aenter__(self) -> Self:
        if self._sync is not None:
            try:
                await self._sync.aready()
            except BaseException:
                await self.close()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
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
        if self._sync is not None:
            await self._sync.alook()

    async def _lookup(self, effect: LookupRevocations) -> RevocationStatus:
        view = self._revocations
        method = getattr(view, "alookup", None) or view.lookup
        found: RevocationStatus = await _called(view, functools.partial(method, effect.ids), method)
        return found

    async def _claim(self, effect: ClaimNonce) -> bool:
        store = self._replay
        method = getattr(store, "aclaim", None) or getattr(store, "claim", None)
        claim = _claim(store, effect, method)
        won: bool = await _called(store, claim, method)
        return won

    async def _report(self, effect: ReportReceipt) -> None:
        if self._on_receipt is None:
            return
        if is_awaited(self._on_receipt):
            await self._on_receipt(effect.text)
        else:
            answer = await anyio.to_thread.run_sync(self._on_receipt, effect.text)
            refuse_awaitable(answer, "on_receipt")


@without_frames
def verify_receipt(text: str, *, issuers: Sequence[str]) -> VerificationReceipt:
    """Return the content of `text`, a verification receipt that one of `issuers` signed.

    `issuers` are the DIDs of the verifiers whose receipts are accepted, at least one, obtained from
    a trusted source. Uses neither network nor clock. Raises `Denied` for any other text,
    `ConfigurationError` if `issuers` is empty or not made of DIDs, and `SignerError` if the signing
    binary gives no answer.
    """
    known = list(issuers_of(issuers, "issuers"))
    return parse_receipt(Signer(shared()).ask(question_of(text, known)))


async def _called(owner: Any, call: Callable[[], Any], method: Any) -> Any:
    """Call a store's method: in a thread, unless it is async or its store is `instant`."""
    if iscoroutinefunction(method) or getattr(owner, "instant", False):
        answer = call()
    else:
        answer = await anyio.to_thread.run_sync(call)
    return await answer if isawaitable(answer) else answer


def _claim(replay: Any, use: ClaimNonce, method: Any = None) -> Callable[[], Any]:
    """Return the call of `claim`; a store with `shares` also receives the family."""
    if replay is None:
        raise missing_replay_store()
    more = {"family": use.family} if getattr(replay, "shares", False) else {}
    return functools.partial(
        method or replay.claim, use.issuer, use.audience, use.nonce, use.expires_at, **more
    )
