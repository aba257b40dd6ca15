"""`AuthGuard` and `AsyncAuthGuard`: an agent asks before it acts.

Both run the same flows (`nomos._core.flows`); they differ in how each effect is performed and
in nothing else. Docstrings are complete on `AuthGuard`; its twin refers to them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import anyio

from nomos._core import flows, requests
from nomos._core.effects import Effect, Flow, Pause, Send, Sign
from nomos._guard import FailOpenWarning, GuardBase
from nomos._io.drive import adrive, drive
from nomos._io.http import AsyncHttp, Http
from nomos._io.signer import AsyncSigner, Link, Signer
from nomos.errors import ConfigurationError
from nomos.models import DEFAULT_TTL_SECONDS, GrantBase

if TYPE_CHECKING:
    pass

__all__ = ["AsyncAuthGuard", "AsyncGrant", "AuthGuard", "FailOpenWarning", "Grant"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Grant(GrantBase):
    """The answer to one question, from an `AuthGuard`."""

    _guard: AuthGuard = field(repr=False, compare=False)

    def headers(
        self,
        *,
        command: str | None = None,
        args: Mapping[str, Any] | None = None,
        audience: str | None = None,
    ) -> dict[str, str]:
        """Return `{"authorization": "Bearer …"}` with an invocation signed now, good for 60 s.

        `args` binds this one call's parameters; a grant asked with `args` is bound to those.
        Raises `Denied` for a grant that does not allow, `ConfigurationError` for a command,
        args or audience that the grant is not for.
        """
        bound = _call_args(self, command=command, args=args, audience=audience)
        return _bearer(self._guard._invoke(self, bound))  # noqa: SLF001 - its own guard

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Grant cannot be pickled: its authority stays in this process")


@dataclass(frozen=True, kw_only=True)
class AsyncGrant(GrantBase):
    """The answer to one question, from an `AsyncAuthGuard`."""

    _guard: AsyncAuthGuard = field(repr=False, compare=False)

    async def headers(
        self,
        *,
        command: str | None = None,
        args: Mapping[str, Any] | None = None,
        audience: str | None = None,
    ) -> dict[str, str]:
        """See `Grant.headers`."""
        bound = _call_args(self, command=command, args=args, audience=audience)
        return _bearer(await self._guard._invoke(self, bound))  # noqa: SLF001 - its own guard

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Grant cannot be pickled: its authority stays in this process")


class AuthGuard(GuardBase):
    """Asks the control plane before an agent acts, and signs what an allow entitles to.

    `control_plane_url` and `api_key` come from whoever runs the control plane (`nomos dev`
    prints both). `agent_key_file` names a persistent signing key (0600, 64 hex digits);
    without it the guard makes a key that lives as long as it does. `failure_mode="closed"`
    raises when no answer can be had; `"open"` lets commands that only read go on, marked
    `degraded`. `timeout` bounds each try, in seconds.

    A guard may be shared by threads and used after `fork()`. It is a context manager.
    Raises `ConfigurationError` for a setting that is wrong.
    """

    def _connect(self) -> None:
        self._http = Http(self._endpoint)

    def authorize(
        self,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        audience: str | None = None,
        purpose: str | None = None,
        context: Mapping[str, Any] | None = None,
        cosigner_envelope_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Grant:
        """Ask whether `command` may be done to `resource`.

        `args` binds the call's other parameters (at most 16 KiB of JSON); without it they stay
        open. `ttl_seconds` is 1 to 3600. `purpose` (280 characters) and `context` (4 KiB) are
        for policy and for people. `idempotency_key` makes two calls count as one for 24 hours.

        Returns a `Grant`, truthy only for an allow; `grant.require()` raises otherwise.
        Raises `InvalidRequest` for a wrong question and another `ControlPlaneError` or a
        `SignerError` when no answer can be had: nothing is allowed without one.
        """
        question = requests.question(
            command=command,
            resource=resource,
            args=args,
            ttl_seconds=ttl_seconds,
            audience=audience,
            purpose=purpose,
            context=context,
            cosigner_envelope_id=cosigner_envelope_id,
        )
        did = self._did or self._identified(self._run(flows.identify(self._seed)))
        base = self._run(self._flow(self._ask(question, did, idempotency_key)))
        return Grant(**_members(self._noted(question, base)), _guard=self)

    def close(self) -> None:
        """Let go of connections and the signing key, and stop an embedded server. Idempotent."""
        forget = self._leaves()
        try:
            if forget is not None and self._linked is not None:
                Signer(self._linked).ask(forget)
        finally:
            self._http.close()
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

    def _invoke(self, grant: GrantBase, args: dict[str, Any] | None) -> str:
        return self._run(_invocation(grant, args))

    def _run(self, flow: Flow[T]) -> T:
        link = self._link
        return drive(flow, lambda effect: self._perform(effect, link))

    def _perform(self, effect: Effect[Any], link: Link) -> object:
        match effect:
            case Send():
                return self._http.send(effect)
            case Sign(request):
                return Signer(link).ask(request)
            case Pause(seconds):
                time.sleep(seconds)
                return None
            case _:
                raise TypeError(f"a flow asked for {effect!r}, which no guard performs")


class AsyncAuthGuard(GuardBase):
    """`AuthGuard` for asyncio and trio; see there. Nothing in it blocks the loop.

    One guard may be used from any number of loops, one after another or at once.
    """

    def _connect(self) -> None:
        self._http = AsyncHttp(self._endpoint)

    async def authorize(
        self,
        *,
        command: str,
        resource: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
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
            ttl_seconds=ttl_seconds,
            audience=audience,
            purpose=purpose,
            context=context,
            cosigner_envelope_id=cosigner_envelope_id,
        )
        did = self._did or self._identified(await self._run(flows.identify(self._seed)))
        base = await self._run(self._flow(self._ask(question, did, idempotency_key)))
        return AsyncGrant(**_members(self._noted(question, base)), _guard=self)

    async def close(self) -> None:
        """See `AuthGuard.close`."""
        forget = self._leaves()
        try:
            if forget is not None and self._linked is not None:
                await AsyncSigner(self._linked).ask(forget)
        finally:
            await self._http.close()
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

    async def _invoke(self, grant: GrantBase, args: dict[str, Any] | None) -> str:
        return await self._run(_invocation(grant, args))

    async def _run(self, flow: Flow[T]) -> T:
        link = self._link
        return await adrive(flow, lambda effect: self._perform(effect, link))

    async def _perform(self, effect: Effect[Any], link: Link) -> object:
        match effect:
            case Send():
                return await self._http.send(effect)
            case Sign(request):
                return await AsyncSigner(link).ask(request)
            case Pause(seconds):
                await anyio.sleep(seconds)
                return None
            case _:
                raise TypeError(f"a flow asked for {effect!r}, which no guard performs")


def _call_args(
    grant: GrantBase,
    *,
    command: str | None,
    args: Mapping[str, Any] | None,
    audience: str | None,
) -> dict[str, Any] | None:
    """Return the args that an invocation of `grant` signs; refuses what it is not for."""
    grant.require()
    if command is not None and command != grant.command:
        raise ConfigurationError(
            f"this grant is for {grant.command}, not {command}: authorize that first",
            setting="command",
        )
    if audience is not None and audience != grant.audience:
        raise ConfigurationError(
            f"this grant is for {grant.audience}, not {audience}: authorize with that audience",
            setting="audience",
        )
    if args is None or grant.args is None:
        return grant.args if args is None else dict(args)
    if dict(args) != grant.args:
        raise ConfigurationError(
            "this grant is bound to the args it was asked with; authorize again with these",
            setting="args",
        )
    return grant.args


def _invocation(grant: GrantBase, args: dict[str, Any] | None) -> Flow[str]:
    return flows.invoke(grant, args=args, now=time.time(), nonce=secrets.token_urlsafe(16))


def _members(grant: GrantBase) -> dict[str, Any]:
    return {member.name: getattr(grant, member.name) for member in fields(GrantBase)}


def _bearer(jwt: str) -> dict[str, str]:
    return {"authorization": f"Bearer {jwt}"}
