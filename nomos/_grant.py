"""`Grant` and `AsyncGrant`: an answer, and the headers that an allow entitles to."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NoReturn

from nomos._core import flows
from nomos._core.effects import Flow
from nomos.errors import ConfigurationError
from nomos.models import GrantBase
from nomos.outcomes import ReceiptBase

if TYPE_CHECKING:
    from nomos.guard import AsyncAuthGuard, AuthGuard


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


def invocation(grant: GrantBase, args: dict[str, Any] | None) -> Flow[str]:
    return flows.invoke(grant, args=args, now=time.time(), nonce=secrets.token_urlsafe(16))


def _bearer(jwt: str) -> dict[str, str]:
    return {"authorization": f"Bearer {jwt}"}


def members(value: GrantBase | ReceiptBase) -> dict[str, Any]:
    return {member.name: getattr(value, member.name) for member in fields(value)}
