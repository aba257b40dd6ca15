"""What a request asks for, by the tables of the providers: a command, a resource, args.

What is wrong is returned and not raised: whoever sent it is told once the token is proven.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from nomos.errors import InvalidRequest
from nomos.resources import Catalog, CommandSpec, Provider, find_command, nearest_command
from nomos.server.pdp.context import PdpLimits
from nomos.server.pdp.request import IN_QUERY, Rebuilt, rebuild
from nomos.server.pdp.statuses import PdpError, shown

MAX_COMMAND: Final = 256


@dataclass(frozen=True)
class PdpRequest:
    """A request as it arrived. `body` reads at most so many bytes, or refuses."""

    method: str
    path: str
    query: bytes
    authorization: tuple[str, ...]
    content_type: str | None
    body: Callable[[int], Awaitable[bytes]]
    request_id: str


class RequestParser:
    """Reads requests; `serves` says whether this PDP carries a command out."""

    def __init__(
        self, catalog: Catalog, limits: PdpLimits, serves: Callable[[Provider, CommandSpec], bool]
    ) -> None:
        self._catalog = catalog
        self._limits = limits
        self._serves = serves

    def match(self, asked: PdpRequest) -> tuple[Provider, CommandSpec] | PdpError:
        """Return the command, or what is wrong with asking for it; nothing is read for that."""
        try:
            return self._command(asked)
        except PdpError as refusal:
            return refusal

    async def parse(
        self, asked: PdpRequest, provider: Provider, command: CommandSpec
    ) -> Rebuilt | PdpError:
        """Return the call, or what is wrong with it; the token is not proven for it yet."""
        try:
            body = await asked.body(self._cap(command))
            return rebuild(
                provider,
                command,
                query=asked.query,
                body=body,
                content_type=asked.content_type,
            )
        except InvalidRequest as error:
            return PdpError("invalid_request", str(error), fields=error.fields)
        except PdpError as refusal:
            return refusal

    def _cap(self, command: CommandSpec) -> int:
        """Return how many bytes the body of a call may have: none where parameters are a query."""
        if command.method in IN_QUERY:
            return 0
        holds_file = any(argument.digest for argument in command.args.values())
        return self._limits.request_body(holds_file=holds_file)

    def _command(self, asked: PdpRequest) -> tuple[Provider, CommandSpec]:
        name = asked.path[: MAX_COMMAND + 1]
        found = find_command(self._catalog, name)
        if found is None:
            near = nearest_command(self._catalog, name)
            hint = f"; did you mean {near}?" if near is not None else ""
            raise PdpError("not_found", f"there is no command {shown(name)}{hint}")
        provider, command = found
        if not self._serves(provider, command):
            raise PdpError(
                "not_found",
                f"{command.name} is registered for policy; this PDP does not serve it",
            )
        if asked.method != command.method:
            raise PdpError(
                "method_not_allowed",
                f"call it as {command.method} {command.name}",
                headers={"allow": command.method},
            )
        return found
