"""`Grant` and `AsyncGrant`: a decision, and the signed headers of an allowed call."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nomos._core import flows, requests
from nomos._core.chain_verification import other_service
from nomos._core.effects import Flow
from nomos._core.parent_chain import canonical
from nomos._core.scope import covers
from nomos._json import encode
from nomos._unawaited import Asynchronous
from nomos.errors import ConfigurationError, InvalidRequest
from nomos.models import GrantBase, Resource, describe_resource

if TYPE_CHECKING:
    from nomos.guard import AsyncAuthGuard, AuthGuard


class Grant(GrantBase):
    """The decision about one question, from an `AuthGuard`. Truthy only for an allow.

    `require` returns the grant or raises; `headers` signs a call. Members:

    - `decision`: `allow`, `deny` or `requires_step_up`; `reason` is the code if it is not an allow,
      `explanation` the policies that decided.
    - `command`, `resource`, `args`: the call; `commands` those that a prefix covers.
    - `ucan`: a signed invocation, to be sent as `Bearer`; None for a prefix, and unless allowed.
    - `chain`: the delegations, root first; `expires_at`: the end of the grant or of an open
      approval, in UTC.
    - `audience`, `issuer`, `agent`: the DIDs of the service, of the control plane's key, and of
      the agent.
    - `receipt_id`: the id of the audit record of the decision.
    - `approval_envelope_id`, `approval_url`: the approval to wait for, and its page.
    - `degraded`: whether it was allowed without a decision (`failure_mode="open"`);
      `clock_offset`: seconds by which the control plane's clock is ahead of this machine's.
    """

    _guard: AuthGuard

    def headers(
        self,
        *,
        command: str | None = None,
        resource: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
        audience: str | None = None,
    ) -> dict[str, str]:
        """Sign an invocation now and return it as `{"authorization": "Bearer …"}`.

        The invocation expires after 60 seconds, or with the grant if that is sooner.

        Args:
            command: the command of this call. A grant of a command prefix needs one of
                `grant.commands`; any other grant takes its own command only.
            resource: the resource of this call, within the grant's; by default the grant's.
            args: the arguments to sign. A grant that was requested with `args` takes only those.
            audience: the DID that the token is for; only the grant's own audience is accepted.

        Raises:
            Denied: the grant is not an allow.
            ExpiredChain: the grant has expired.
            ConfigurationError: the grant does not cover the command, resource, args or audience, or
                is degraded and has no delegation to sign with.
            InvalidRequest: `resource` or `args` is not a mapping of plain JSON.
            SignerError: the signing binary gave no answer.
        """
        call = _call(self, command=command, resource=resource, args=args, audience=audience)
        return bearer(self._guard._invoke(self, call))  # noqa: SLF001 - its own guard


class AsyncGrant(Asynchronous, GrantBase):
    """The decision about one question, from an `AsyncAuthGuard`. Members are those of `Grant`."""

    _guard: AsyncAuthGuard

    async def headers(
        self,
        *,
        command: str | None = None,
        resource: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
        audience: str | None = None,
    ) -> dict[str, str]:
        """See `Grant.headers`."""
        call = _call(self, command=command, resource=resource, args=args, audience=audience)
        return bearer(await self._guard._invoke(self, call))  # noqa: SLF001 - its own guard


@dataclass(frozen=True)
class GuardedCall:
    """The signed parts of one call: its command, resource and args."""

    command: str
    resource: Resource
    args: dict[str, Any] | None


def _call(
    grant: GrantBase,
    *,
    command: str | None,
    resource: Mapping[str, Any] | None,
    args: Mapping[str, Any] | None,
    audience: str | None,
) -> GuardedCall:
    """Return the parts that an invocation of `grant` signs; raise if it does not cover them."""
    grant.require()
    for name, given in (("resource", resource), ("args", args)):
        _check_mapping(name, given)
    encode({"resource": resource, "args": args})
    if audience is not None and audience != grant.audience:
        raise other_service("this grant", grant.audience, audience)
    return GuardedCall(
        _command(grant, command),
        grant.resource if resource is None else _resource(grant, canonical(resource)),
        _args(grant, args),
    )


def _check_mapping(name: str, given: object) -> None:
    """Raise `InvalidRequest` unless `given` is None or a mapping with string keys."""
    if given is None or (
        isinstance(given, Mapping) and all(isinstance(each, str) for each in given)
    ):
        return
    raise InvalidRequest(
        f"the call cannot be signed: {name} {requests.EXPECTED[name]}", fields=(name,)
    )


def _command(grant: GrantBase, command: str | None) -> str:
    if not grant.commands:
        if command is not None and command != grant.command:
            raise ConfigurationError(
                f"this grant is for {grant.command}, not {command}: authorize that first",
                setting="command",
            )
        return grant.command
    if command in grant.commands:
        return command
    problem = "pass command=" if command is None else f"{command} is not one of them"
    raise ConfigurationError(
        f"this grant is for {', '.join(grant.commands)}, and each call has one command: {problem}",
        setting="command",
    )


def _resource(grant: GrantBase, resource: Resource) -> Resource:
    if not covers(grant.resource, resource):
        raise ConfigurationError(
            f"this grant is for {describe_resource(grant.resource)}, and "
            f"{describe_resource(resource)} is not within it: authorize that first",
            setting="resource",
        )
    return resource


def _args(grant: GrantBase, args: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if args is None or grant.args is None:
        return grant.args if args is None else dict(args)
    if not requests.same_args(args, grant.args):
        raise ConfigurationError(
            "this grant is bound to the args it was requested with: authorize again with these",
            setting="args",
        )
    return grant.args


def invocation(grant: GrantBase, call: GuardedCall) -> Flow[str]:
    """Return the flow that signs one invocation of `grant`."""
    return flows.invoke(
        grant,
        command=call.command,
        resource=call.resource,
        args=call.args,
        now=time.time(),
        nonce=secrets.token_urlsafe(16),
    )


def bearer(jwt: str) -> dict[str, str]:
    """Return the request header that carries a token (RFC 6750, section 2.1)."""
    return {"authorization": f"Bearer {jwt}"}
