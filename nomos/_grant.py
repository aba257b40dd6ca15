"""`Grant` and `AsyncGrant`: an answer, and the headers that an allow entitles to."""

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
from nomos._unawaited import Asynchronous
from nomos.errors import ConfigurationError, InvalidRequest
from nomos.models import GrantBase, Resource, describe_resource

if TYPE_CHECKING:
    from nomos.guard import AsyncAuthGuard, AuthGuard


class Grant(GrantBase):
    """The answer to one question, from an `AuthGuard`."""

    _guard: AuthGuard

    def headers(
        self,
        *,
        command: str | None = None,
        resource: Mapping[str, Any] | None = None,
        args: Mapping[str, Any] | None = None,
        audience: str | None = None,
    ) -> dict[str, str]:
        """Return `{"authorization": "Bearer …"}` with an invocation signed now, good for 60 s.

        A grant of a command prefix signs one of `grant.commands`, which `command` names.
        `resource` is the grant's, or lies within it. `args` binds this one call's parameters; a
        grant asked with `args` is bound to those.
        Raises `Denied` for a grant that does not allow, `ConfigurationError` for a command,
        resource, args or audience that the grant is not for, `InvalidRequest` for what is no
        mapping of plain JSON.
        """
        call = _call(self, command=command, resource=resource, args=args, audience=audience)
        return bearer(self._guard._invoke(self, call))  # noqa: SLF001 - its own guard


class AsyncGrant(Asynchronous, GrantBase):
    """The answer to one question, from an `AsyncAuthGuard`."""

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
    """One use of a grant that reaches further: what of it is signed."""

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
    """Return what an invocation of `grant` signs; refuses what it is not for."""
    grant.require()
    for name, given in (("resource", resource), ("args", args)):
        _check_mapping(name, given)
    requests.encode({"resource": resource, "args": args})
    if audience is not None and audience != grant.audience:
        raise other_service("this grant", grant.audience, audience)
    return GuardedCall(
        _command(grant, command),
        grant.resource if resource is None else _resource(grant, canonical(resource)),
        _args(grant, args),
    )


def _check_mapping(name: str, given: object) -> None:
    """Refuse what has no members with names, as a question with it would be refused."""
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
    asked = "which one must be named" if command is None else f"{command} is none of them"
    raise ConfigurationError(
        f"this grant is for {', '.join(grant.commands)}, and each call is for one command: {asked}",
        setting="command",
    )


def _resource(grant: GrantBase, resource: Resource) -> Resource:
    if not covers(grant.resource, resource):
        raise ConfigurationError(
            f"this grant is for {describe_resource(grant.resource)}, and "
            f"{describe_resource(resource)} does not lie within it: authorize that first",
            setting="resource",
        )
    return resource


def _args(grant: GrantBase, args: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if args is None or grant.args is None:
        return grant.args if args is None else dict(args)
    if not requests.same_args(args, grant.args):
        raise ConfigurationError(
            "this grant is bound to the args it was asked with; authorize again with these",
            setting="args",
        )
    return grant.args


def invocation(grant: GrantBase, call: GuardedCall) -> Flow[str]:
    return flows.invoke(
        grant,
        command=call.command,
        resource=call.resource,
        args=call.args,
        now=time.time(),
        nonce=secrets.token_urlsafe(16),
    )


def bearer(jwt: str) -> dict[str, str]:
    """Return the headers that show a token."""
    return {"authorization": f"Bearer {jwt}"}
