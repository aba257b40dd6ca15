"""`AuthGuard` and `AsyncAuthGuard`: an agent asks before it acts.

Both run the same flows (`nomos._core.flows`) and differ only in how each effect is performed. The
docstrings of `AuthGuard` are complete; those of `AsyncAuthGuard` refer to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from nomos.approvals import Approval
from nomos.constraints import Constraint
from nomos.models import DEFAULT_TTL_SECONDS, Capability, GrantBase
from nomos.receipts import Revocation

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
"""The default `timeout` of `wait_for_approval`: how long an approval stays open by default."""

T = TypeVar("T")


class AuthGuard(GuardBase):
    """Asks the control plane before an agent acts, and signs the calls that are allowed.

        with AuthGuard(control_plane_url="https://nomos.example.com", api_key=key) as guard:
            grant = guard.authorize(
                command="/github/issue/list",
                resource={"provider": "github", "owner": "acme", "repo": "app"},
            )
            response = client.get(url, headers=grant.require().headers())

    | setting | default | meaning |
    |---|---|---|
    | `control_plane_url` | required | base URL of the control plane |
    | `api_key` | None | API key of the app; without one the parent's chain authenticates |
    | `pdp_url` | None | base URL of the PDP, for children |
    | `agent_key_file` | None | file with the agent's persistent key |
    | `parent` | `NOMOS_PARENT_…` | authority inherited from a parent process |
    | `failure_mode` | `"closed"` | `"open"` allows reads if no decision can be had |
    | `timeout` | 10.0 | seconds for each call, above 0 and at most 300 |
    | `allow_insecure` | `()` | host names for which plain http is accepted |

    All are keyword arguments; `__init__` describes them in full. The operator of the control plane
    issues `api_key` (`nomos dev` prints URL and key of a local one).

    `timeout` limits each call as a whole: name lookup, connecting (3 s at most), the whole reply,
    waiting for a free connection, retries with their pauses, and the signing binary. Only
    `wait_for_approval` has a timeout of its own.

    A guard may be shared by threads and used after `fork()`. It is a context manager. After `close`
    its methods raise `ConfigurationError`.
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

        Args:
            command: a command such as `/github/issue/list`, or a prefix such as `/github/issue`:
                then the decision is about all commands under it.
            resource: the provider and its fields: `{"provider": "github", "owner": "acme", "repo":
                "app"}`.
            args: the call's other parameters, which the grant is then bound to; None leaves them
                open. At most 16 KiB of JSON, in which a long text counts as its sha256 if the
                command takes it so, such as `content` of a file.
            constraints: statements of `nomos.constraints` that are signed into the grant and must
                hold for each call; the call's arguments are then passed to `grant.headers(args=…)`.
            ttl_seconds: lifetime of the grant, 1 to 3600 seconds.
            audience: the DID of the service that the grant is for; by default the PDP.
            purpose: why the agent asks, for policy and for approvers; at most 280 characters.
            context: facts that the agent asserts, for policy and for approvers; at most 4 KiB.
            cosigner_envelope_id: the `approval_envelope_id` of an approval to use for this
                question.
            idempotency_key: makes two calls with the same key count as one for 24 hours.

        Returns a `Grant`, truthy only for an allow; `grant.require()` raises otherwise.

        Raises:
            InvalidRequest: the question is wrong; `.fields` names what is wrong with it.
            ControlPlaneError: no usable reply came, so nothing was allowed.
            SignerError: the signing binary gave no answer, so nothing was allowed.
            ChainError: the chain inherited from a parent does not verify.
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
        """Wait until operators have decided `envelope_id`, a grant's `approval_envelope_id`.

        Returns the `Approval`, truthy only if it is approved. Then call `authorize` again with the
        same question and `cosigner_envelope_id`. `timeout` is in seconds and limits the whole wait;
        a request that begins at its end may take half a second more. 0 makes one request, within
        the guard's own timeout. Temporary failures are retried during the wait.

        Raises `TimeoutError` if there is no decision in time, and the last `ControlPlaneError` if
        no request succeeded. Other errors are raised at once, such as `NotFound` for an approval of
        another app.
        """
        flow = self._wait_flow(envelope_id, timeout)
        return self._run(flow, deadline=self._wait_for_decision(timeout))

    @property
    def approvals(self) -> Approvals:
        """The approvals of an embedded server: `list`, `get` and `decide`.

        On any other guard these methods raise `ConfigurationError`: an agent may not decide.
        """
        return Approvals(self)

    @without_frames
    def revoke(self, grant_or_id: Revocable, *, reason: str | None = None) -> Revocation:
        """Revoke authority: PDPs and services reject it within five seconds.

        `grant_or_id` is a grant (its delegation, or its approval if a person has not decided yet),
        a `Child` or a chain (its last link; of several chains, each, and the last revocation is
        returned), the cid of a delegation, an agent's did:key, an app (`app_…`) or an approval
        (`env_…`). Everything that was delegated from it is revoked, too. `reason` is recorded in
        the audit log. Revoking twice has no further effect. A `Grant` is a local object and does
        not change: `headers()` still signs, but every PDP and service rejects the token.

        Raises `InvalidRequest` for something that cannot be revoked, `NotFound` or
        `PermissionDenied` for something that belongs to another app.
        """
        return self._run(self._revoke_flow(grant_or_id, reason))

    def did(self) -> str:
        """Return the DID of this guard's key, for use as the audience of a delegation."""
        return self._run(self._load_identity())

    def headers(
        self,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        audience: str | None = None,
    ) -> dict[str, str]:
        """Sign a call with the chain inherited from a parent, without asking for a decision.

        `command`, `resource` and `args` are the call; all given `args` are signed. `audience` is
        the DID of the service, by default that of the chain's first grant.

        Returns `{"authorization": "Bearer …"}`; the invocation expires after 60 seconds, or with
        the chain if that is sooner. The PDP verifies the whole chain and evaluates policy. A call
        that needs a person's approval is denied at the PDP: use `authorize` for it.

        Raises `AttenuationError` for a call that the chain does not cover, `ExpiredChain` if the
        chain has expired, `WrongAudience` for a service that it is not for, and
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
        """Delegate some of this process's authority to a child process.

        Args:
            capabilities: one mapping for each capability, such as `{"with": "github://acme/app",
                "can": "issue:read"}`, with `constraints` (`nomos.constraints`) or `args` to
                restrict it further. Each must be within `parent_chain`. See `nomos.capabilities`.
            audience_did: the did:key of the child. Without it a key is made for the child.
            parent_chain: a grant of this guard or its chain; by default the chain inherited from
                this guard's parent.
            ttl_seconds: lifetime of the child's authority; it never outlasts the chain.

        Returns a `Child`; `child.popen(args)` starts its process. The child uses the same control
        plane as this guard. The control plane is not asked, and the child gets none of the parent's
        credentials.

        Raises:
            AttenuationError: a capability or the lifetime exceeds what the chain covers.
            ChainError: the chain cannot be delegated from: malformed, expired, too deep, or for
                another key.
            ConfigurationError: an argument is wrong, or a root has passed no `parent_chain`.
            SignerError: the signing binary gave no answer.
        """
        wanted = one_child(capabilities, audience_did, ttl_seconds)
        return self._run(self._fork_flow(wanted, parent_chain, several=False))[0]

    @without_frames
    def fork_children(
        self, children: Sequence[Mapping[str, Any]], *, parent_chain: Chains | None = None
    ) -> tuple[Child, ...]:
        """Fork several children at once: all of them, or none if one of them cannot be forked.

        Each of `children` is a mapping with `capabilities` and, optionally, `audience_did` and
        `ttl_seconds`. `parent_chain` is as in `fork_child`. Raises as `fork_child` does.
        """
        return self._run(self._fork_flow(children, parent_chain, several=True))

    def receipt(self, receipt_id: str) -> Receipt:
        """Return the audit record `receipt_id`, as named by a grant.

        Its content is not verified yet; `receipt.verify` does that. Raises `NotFound` for an
        unknown id.
        """
        return make(Receipt, **field_values(self._run(self._receipt_flow(receipt_id))))

    def close(self) -> None:
        """Close connections, delete the signing key, and stop an embedded server. Idempotent."""
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

    def __exit__(self, *_: object) -> None:
        self.close()

    def _invoke(self, grant: GrantBase, call: GuardedCall) -> str:
        return self._run(invocation(grant, call))

    def _operate(self, flow: Flow[T]) -> T:
        http = self._operator or self._operator_key_required()
        return self._runtime.run(flow, http=http, deadline=self._deadline())

    def _run(self, flow: Flow[T], *, deadline: Deadline | None = None) -> T:
        """Run a flow until `deadline`, by default this guard's `timeout` from now."""
        until = self._deadline() if deadline is None else deadline
        return self._runtime.run(self._with_credentials(flow), http=self._http, deadline=until)


class AsyncAuthGuard(Asynchronous, GuardBase):
    """`AuthGuard` for asyncio and trio, with methods to be awaited. It never blocks the loop.

    One guard may be used by several event loops, one after another or at the same time.
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
        """See `AuthGuard.wait_for_approval`. Cancelling it has no side effects."""
        flow = self._wait_flow(envelope_id, timeout)
        return await self._run(flow, deadline=self._wait_for_decision(timeout))

    @property
    def approvals(self) -> AsyncApprovals:
        """See `AuthGuard.approvals`."""
        return AsyncApprovals(self)

    async def revoke(self, grant_or_id: Revocable, *, reason: str | None = None) -> Revocation:
        """See `AuthGuard.revoke`."""
        flow = self._revoke_flow(grant_or_id, reason)
        del grant_or_id  # it may hold tokens, which an error report would show
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
        self, children: Sequence[Mapping[str, Any]], *, parent_chain: Chains | None = None
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

    async def __aexit__(self, *_: object) -> None:
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
