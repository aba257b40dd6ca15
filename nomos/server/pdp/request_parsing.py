"""`RequestParser`: requests checked against the providers' tables, with errors as values.

An error is returned and not raised: it is reported only once the token is verified.
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
    """A request as received. `body` reads at most so many bytes, or raises."""

    method: str
    path: str
    query: bytes
    authorization: tuple[str, ...]
    content_type: str | None
    body: Callable[[int], Awaitable[bytes]]
    request_id: str


@dataclass(frozen=True)
class RequestParser:
    """Parses requests; `serves` says whether this PDP performs a command."""

    catalog: Catalog
    limits: PdpLimits
    serves: Callable[[Provider, CommandSpec], bool]

    def match(self, request: PdpRequest) -> tuple[Provider, CommandSpec] | PdpError:
        """Return the command, or the error in its method or path; the body is not read for that."""
        try:
            return self._command(request)
        except PdpError as refusal:
            return refusal

    async def parse(
        self, request: PdpRequest, provider: Provider, command: CommandSpec
    ) -> Rebuilt | PdpError:
        """Return the call, or an error; the token is not yet verified for it."""
        try:
            body = await request.body(self._cap(command))
            return rebuild(
                provider,
                command,
                query=request.query,
                body=body,
                content_type=request.content_type,
            )
        except InvalidRequest as error:
            return PdpError("invalid_request", str(error), fields=error.fields)
        except PdpError as refusal:
            return refusal

    def _cap(self, command: CommandSpec) -> int:
        """Return the maximum size of the call's body in bytes: 0 where parameters are a query."""
        if command.method in IN_QUERY:
            return 0
        holds_file = any(argument.digest for argument in command.args.values())
        return self.limits.request_body(holds_file=holds_file)

    def _command(self, request: PdpRequest) -> tuple[Provider, CommandSpec]:
        name = request.path[: MAX_COMMAND + 1]
        found = find_command(self.catalog, name)
        if found is None:
            near = nearest_command(self.catalog, name)
            hint = f"; did you mean {near}?" if near is not None else ""
            raise PdpError("not_found", f"there is no command {shown(name)}{hint}")
        provider, command = found
        if not self.serves(provider, command):
            message = f"{command.name} can be decided by policy, but this PDP does not serve it"
            raise PdpError("not_found", message)
        if request.method != command.method:
            raise PdpError(
                "method_not_allowed",
                f"call it as {command.method} {command.name}",
                headers={"allow": command.method},
            )
        return found
