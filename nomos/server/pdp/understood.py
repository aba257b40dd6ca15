"""What a request asks for, by the tables of the providers: a command, a resource, args.

What is wrong is returned and not raised: whoever sent it is told once the token is proven.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from nomos.errors import InvalidRequest
from nomos.resources import Catalog, CommandSpec, Provider, find_command, nearest_command
from nomos.server.pdp.ports import Limits
from nomos.server.pdp.request import IN_QUERY, Rebuilt, rebuild
from nomos.server.pdp.statuses import Refusal, shown

MAX_COMMAND: Final = 256


@dataclass(frozen=True)
class Asked:
    """A request as it arrived. `body` reads at most so many bytes, or refuses."""

    method: str
    path: str
    query: bytes
    authorization: tuple[str, ...]
    content_type: str | None
    body: Callable[[int], Awaitable[bytes]]
    request_id: str


class Requests:
    """Reads requests; `serves` says whether this PDP carries a command out."""

    def __init__(
        self, catalog: Catalog, limits: Limits, serves: Callable[[Provider, CommandSpec], bool]
    ) -> None:
        self._catalog = catalog
        self._limits = limits
        self._serves = serves

    def wanted(self, asked: Asked) -> tuple[Provider, CommandSpec] | Refusal:
        """Return the command, or what is wrong with asking for it; nothing is read for that."""
        try:
            return self._command(asked)
        except Refusal as refusal:
            return refusal

    async def rebuilt(
        self, asked: Asked, provider: Provider, command: CommandSpec
    ) -> Rebuilt | Refusal:
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
            return Refusal("invalid_request", str(error), fields=error.fields)
        except Refusal as refusal:
            return refusal

    def _cap(self, command: CommandSpec) -> int:
        """Return how many bytes the body of a call may have: none where parameters are a query."""
        if command.method in IN_QUERY:
            return 0
        holds_file = any(argument.digest for argument in command.args.values())
        return self._limits.request_body(holds_file=holds_file)

    def _command(self, asked: Asked) -> tuple[Provider, CommandSpec]:
        name = asked.path[: MAX_COMMAND + 1]
        found = find_command(self._catalog, name)
        if found is None:
            near = nearest_command(self._catalog, name)
            hint = f"; did you mean {near}?" if near is not None else ""
            raise Refusal("not_found", f"there is no command {shown(name)}{hint}")
        provider, command = found
        if not self._serves(provider, command):
            raise Refusal(
                "not_found",
                f"{command.name} is registered for policy; this PDP does not serve it",
            )
        if asked.method != command.method:
            raise Refusal(
                "invalid_request",
                f"call it as {command.method} {command.name}",
                status=405,
                headers={"allow": command.method},
            )
        return found
