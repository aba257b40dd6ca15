"""`AuthGuard` and `AsyncAuthGuard`: an agent asks before it acts.

Both run the same flows (`nomos._core.flows`); they differ in how each effect is performed and
in nothing else. Docstrings are complete on `AuthGuard`; its twin refers to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio

from nomos._approvals import Approvals, AsyncApprovals
from nomos._child import Child
from nomos._core import requests
from nomos._core.effects import Flow
from nomos._grant import AsyncGrant, Grant, GuardedCall, invocation
from nomos._guard import GuardBase
from nomos._guard_core import FailOpenWarning, Revocable
from nomos._identity import Chains, one_child
from nomos._io.deadline import Deadline
from nomos._io.http import AsyncHttp, Endpoint, Http
from nomos._io.runtime import AsyncRuntime, SyncRuntime
from nomos._io.signer import AsyncSigner, Signer
from nomos._receipt import AsyncReceipt, Receipt
from nomos._sealed import field_values, make
from nomos._tracebacks import without_frames
from nomos._unawaited import Asynchronous
from nomos.constraints import Constraint
from nomos.models import DEFAULT_TTL_SECONDS, Capability, GrantBase
from nomos.outcomes import Approval, Revocation

__all__ = [
    "AsyncAuthGuard",
    "AsyncGrant",
    "AsyncReceipt",
    "AuthGuard",
    "FailOpenWarning",
    "Grant",
    "Receipt",
]

WAIT_SECONDS: Final = 900.0
"""How long a question to a person stays open unless policy says otherwise."""

T = TypeVar("T")


class AuthGuard(GuardBase):
    """Asks the control plane before an agent acts, and signs what an allow entitles to.

    `control_plane_url` and `api_key` come from whoever runs the control plane (`nomos dev`
    prints both). `agent_key_file` names a persistent signing key (0600, 64 hex digits);
    without it the guard uses the key that a parent handed over, or makes one that lives as long
    as it does. `parent` is the chain that it acts by: by default, what the `NOMOS_PARENT_…`
    variables of this process hold; None makes a root of it on purpose. Without an API key the
    guard asks by its chain.

    `failure_mode="closed"` raises when no answer can be had; `"open"` lets commands that only
    read go on, marked `degraded`, and a child's no further than its chain.

    `timeout` (above 0, at most 300 seconds) bounds each call as a whole: looking up names,
    connecting (3 s at most), an answer that comes byte by byte, its wait for a turn among other
    calls, retries and the pauses between them, and the signing binary. `wait_for_approval` has a
    timeout of its own. URLs are https, or of this machine; `allow_insecure` names other hosts that
    plain http may be used to.

    A guard may be shared by threads and used after `fork()`. It is a context manager.
    Raises `ConfigurationError` for a setting that is wrong, and a `ChainError` for a parent's
    chain that cannot be read; its signatures, its expiry and whose it is are checked on first
    use.
    """

    _operator: Http | None = None

    def _connect(self) -> None:
        self._http = Http(self._endpoint)
        self._runtime = SyncRuntime(lambda: self._link, check=self._check_open)

    def _connect_operator(self, endpoint: Endpoint) -> None:
        self._operator = Http(endpoint)

    def authorize(
        self,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        constraints: Constraint | Sequence[Constraint] | None = None,
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        audience: str | None = None,
        purpose: str | None = None,
        context: Mapping[str, Any] | None = None,
        cosigner_envelope_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Grant:
        """Ask whether `command` may be done to `resource`.

        `args` binds the call's other parameters (at most 16 KiB of JSON, where a longer text is
        bound by its sha256 if the command takes it so, as `content` of a file); without it
        they stay open. `constraints` (`nomos.constraints`) are signed into the grant and must
        hold for each call, whose arguments are then given to `grant.headers(args=…)`.
        `command` may be a prefix, such as `/github/issue`: then the answer is about all
        commands beneath it. `ttl_seconds` is 1 to 3600. `purpose` (280 characters) and `context`
        (4 KiB) are for policy and for people. `idempotency_key` makes two calls count as one for
        24 hours.

        Returns a `Grant`, truthy only for an allow; `grant.require()` raises otherwise.
        Raises `InvalidRequest` for a wrong question and another `ControlPlaneError` or a
        `SignerError` when no answer can be had: nothing is allowed without one.
        """
        question = requests.question(
            command=command,
            resource=resource,
            args=args,
            constraints=constraints,
            ttl_seconds=ttl_seconds,
            audience=audience,
            purpose=purpose,
            context=context,
            cosigner_envelope_id=cosigner_envelope_id,
        )
        base = self._run(self._authorize_flow(question, idempotency_key))
        return make(Grant, **field_values(self._cache_grant(question, base)), _guard=self)

    def wait_for_approval(self, envelope_id: str, *, timeout: float = WAIT_SECONDS) -> Approval:
        """Wait until a person has decided about a grant's `approval_envelope_id`.

        Returns the `Approval`, truthy only for a yes; then `authorize` again, with the same
        question and `cosigner_envelope_id`, gives the allow. `timeout` is in seconds, for
        everything together (a look that begins at its end may take half a second more); 0 looks
        once, within the guard's own timeout. Failures that may pass are waited out meanwhile.

        Raises `TimeoutError` if nobody has decided by then, and the last `ControlPlaneError`
        if there never was an answer. Other errors are raised at once: `NotFound` for an
        approval of another app.
        """
        flow = self._wait_flow(envelope_id, timeout)
        return self._run(flow, deadline=self._wait_for_decision(timeout))

    @property
    def approvals(self) -> Approvals:
        """The questions of an embedded server's agents, and a way to answer them.

        On any other guard its methods raise `ConfigurationError`: agents do not decide.
        """
        return Approvals(self)

    @without_frames
    def revoke(self, grant_or_id: Revocable, *, reason: str | None = None) -> Revocation:
        """Take authority back: PDPs and services refuse it within five seconds.

        `grant_or_id` is a grant (its delegation, or its question if a person has not decided), a
        `Child` or a chain (its last link; of several chains each, and the last is returned), the
        cid of a delegation, an agent's did:key, an app (`app_…`) or an approval (`env_…`).
        What was handed on from it falls with it. Revoking twice is harmless. A `Grant` is a
        local object and does not change: its `headers()` still signs, and nobody honours it.

        Raises `InvalidRequest` for what cannot be revoked, `NotFound` or `PermissionDenied`
        for what belongs to others.
        """
        return self._run(self._revoke_flow(grant_or_id, reason))

    def did(self) -> str:
        """Return the DID of this guard's key, to which a parent can hand authority."""
        return self._run(self._load_identity())

    def headers(
        self,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        audience: str | None = None,
    ) -> dict[str, str]:
        """Sign a call by the parent's chain alone, with nobody asked; good for 60 s.

        The PDP checks all of the chain and decides by policy. `audience` is the service; by
        default the one that the chain's first grant was for. What needs a person's approval is
        refused there: `authorize` asks for it.

        Raises `Widening` for what the chain is not for, `ExpiredChain` after its end, and
        `ConfigurationError` for a guard without a parent.
        """
        question = requests.question(
            command=command, resource=resource, args=args, audience=audience
        )
        return self._run(self._headers_flow(question))

    @without_frames
    def fork_child(
        self,
        *,
        capabilities: Sequence[Mapping[str, Any] | Capability],
        audience_did: str | None = None,
        parent_chain: Chains | None = None,
        ttl_seconds: int | None = None,
    ) -> Child:
        """Hand on some of what this process holds, to a child that can do that and no more.

        `capabilities` are such as `{"with": "github://acme/app", "can": "issue:read"}`, with
        `constraints` (`nomos.constraints`) or `args` where there is less to be done, each of
        them within `parent_chain`: a grant of this guard, its chain, or by default what its own
        parent handed over. `audience_did` is the child's key; without it one is made for it.
        `ttl_seconds` ends the child's authority before the chain's end.

        Returns a `Child`: `child.popen(args)` starts it. The child asks this guard's control
        plane. Nobody is asked here, and nothing of the parent's credentials goes along.

        Raises `Widening` for more than the chain gives, another `ChainError` for one that
        cannot be handed on, `ConfigurationError` for wrong arguments and for a root without a
        grant.
        """
        wanted = one_child(capabilities, audience_did, ttl_seconds)
        return self._run(self._fork_flow(wanted, parent_chain, several=False))[0]

    @without_frames
    def fork_children(
        self,
        children: Sequence[Mapping[str, Any]],
        *,
        parent_chain: Chains | None = None,
    ) -> tuple[Child, ...]:
        """Fork many children at once: all of them, or none if one cannot be.

        Each of `children` is a mapping with `capabilities`, and with `audience_did` and
        `ttl_seconds` where wanted; see `fork_child`.
        """
        return self._run(self._fork_flow(children, parent_chain, several=True))

    def receipt(self, receipt_id: str) -> Receipt:
        """Return the record that a grant's `receipt_id` names; `receipt.verify` proves it."""
        return make(Receipt, **field_values(self._run(self._receipt_flow(receipt_id))))

    def close(self) -> None:
        """Let go of connections and the signing key, and stop an embedded server. Idempotent."""
        forget = self._release_signing_key()
        try:
            if forget is not None and self._linked is not None:
                Signer(self._linked).ask(forget)
        finally:
            self._http.close()
            if self._operator is not None:
                self._operator.close()
            if self._server is not None:
                self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _invoke(self, grant: GrantBase, call: GuardedCall) -> str:
        return self._run(invocation(grant, call))

    def _operate(self, flow: Flow[T]) -> T:
        http = self._operator or self._operator_key_required()
        return self._runtime.run(flow, http=http, deadline=self._deadline())

    def _run(self, flow: Flow[T], *, deadline: Deadline | None = None) -> T:
        """Run a flow; `deadline` is for all of it, by default this guard's `timeout` from now."""
        until = self._deadline() if deadline is None else deadline
        return self._runtime.run(self._with_credentials(flow), http=self._http, deadline=until)


class AsyncAuthGuard(Asynchronous, GuardBase):
    """`AuthGuard` for asyncio and trio; see there. Nothing in it blocks the loop.

    One guard may be used from any number of loops, one after another or at once.
    """

    _operator: AsyncHttp | None = None

    def _connect(self) -> None:
        self._http = AsyncHttp(self._endpoint)
        self._runtime = AsyncRuntime(lambda: self._link, check=self._check_open)

    def _connect_operator(self, endpoint: Endpoint) -> None:
        self._operator = AsyncHttp(endpoint)

    async def authorize(
        self,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        constraints: Constraint | Sequence[Constraint] | None = None,
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        audience: str | None = None,
        purpose: str | None = None,
        context: Mapping[str, Any] | None = None,
        cosigner_envelope_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncGrant:
        """See `AuthGuard.authorize`."""
        question = requests.question(
            command=command,
            resource=resource,
            args=args,
            constraints=constraints,
            ttl_seconds=ttl_seconds,
            audience=audience,
            purpose=purpose,
            context=context,
            cosigner_envelope_id=cosigner_envelope_id,
        )
        base = await self._run(self._authorize_flow(question, idempotency_key))
        return make(AsyncGrant, **field_values(self._cache_grant(question, base)), _guard=self)

    async def wait_for_approval(
        self, envelope_id: str, *, timeout: float = WAIT_SECONDS
    ) -> Approval:
        """See `AuthGuard.wait_for_approval`. Cancelling it leaves nothing behind."""
        flow = self._wait_flow(envelope_id, timeout)
        return await self._run(flow, deadline=self._wait_for_decision(timeout))

    @property
    def approvals(self) -> AsyncApprovals:
        """See `AuthGuard.approvals`."""
        return AsyncApprovals(self)

    async def revoke(self, grant_or_id: Revocable, *, reason: str | None = None) -> Revocation:
        """See `AuthGuard.revoke`."""
        flow = self._revoke_flow(grant_or_id, reason)
        del grant_or_id  # it may be tokens, which a report of an error would show
        return await self._run(flow)

    async def did(self) -> str:
        """See `AuthGuard.did`."""
        return await self._run(self._load_identity())

    async def headers(
        self,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        audience: str | None = None,
    ) -> dict[str, str]:
        """See `AuthGuard.headers`."""
        question = requests.question(
            command=command, resource=resource, args=args, audience=audience
        )
        return await self._run(self._headers_flow(question))

    async def fork_child(
        self,
        *,
        capabilities: Sequence[Mapping[str, Any] | Capability],
        audience_did: str | None = None,
        parent_chain: Chains | None = None,
        ttl_seconds: int | None = None,
    ) -> Child:
        """See `AuthGuard.fork_child`."""
        wanted = one_child(capabilities, audience_did, ttl_seconds)
        flow = self._fork_flow(wanted, parent_chain, several=False)
        del parent_chain  # as in revoke
        return (await self._run(flow))[0]

    async def fork_children(
        self,
        children: Sequence[Mapping[str, Any]],
        *,
        parent_chain: Chains | None = None,
    ) -> tuple[Child, ...]:
        """See `AuthGuard.fork_children`."""
        flow = self._fork_flow(children, parent_chain, several=True)
        del parent_chain  # as in revoke
        return await self._run(flow)

    async def receipt(self, receipt_id: str) -> AsyncReceipt:
        """See `AuthGuard.receipt`."""
        return make(AsyncReceipt, **field_values(await self._run(self._receipt_flow(receipt_id))))

    async def close(self) -> None:
        """See `AuthGuard.close`."""
        forget = self._release_signing_key()
        try:
            if forget is not None and self._linked is not None:
                await AsyncSigner(self._linked).ask(forget)
        finally:
            await self._http.close()
            if self._operator is not None:
                await self._operator.close()
            if self._server is not None:
                await anyio.to_thread.run_sync(self._server.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _invoke(self, grant: GrantBase, call: GuardedCall) -> str:
        return await self._run(invocation(grant, call))

    async def _operate(self, flow: Flow[T]) -> T:
        http = self._operator or self._operator_key_required()
        return await self._runtime.run(flow, http=http, deadline=self._deadline())

    async def _run(self, flow: Flow[T], *, deadline: Deadline | None = None) -> T:
        """See `AuthGuard._run`."""
        until = self._deadline() if deadline is None else deadline
        flow = self._with_credentials(flow)
        return await self._runtime.run(flow, http=self._http, deadline=until)
