"""`CanonicalRequest`: a question as it is decided, signed and recorded. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nomos.models import Resource
from nomos.resources import CommandSpec, Provider


@dataclass(frozen=True)
class CanonicalRequest:
    """A question in canonical form.

    `spec` is None for an unknown command, which is possible only with a chain and is denied. It is
    also None for a prefix; `commands` then has the commands under it, sorted. `args` is None when
    they are not bound, `agent` when the app's own key signs, `audience` when it is the PDP. `sent`
    has the args as the agent sent them, for operators; `cosigner` is the envelope of an approval.
    `pol` are further statements about each call. `service` is true if the audience verifies tokens
    and evaluates no policy.
    """

    command: str
    provider: Provider
    spec: CommandSpec | None
    resource: Resource
    args: Mapping[str, Any] | None
    ttl: int
    agent: str | None
    purpose: str | None
    context: Mapping[str, Any] | None
    sent: Mapping[str, Any] | None = None
    cosigner: str | None = None
    audience: str | None = None
    commands: tuple[str, ...] = ()
    pol: tuple[Any, ...] = ()
    service: bool = False

    def bound(
        self,
        tenant: str,
        app: str,
        agent: str,
        root: str | None = None,
        invoked_by: Collection[str] = (),
    ) -> dict[str, Any]:
        """Return the members that an approval is bound to. The purpose is not among them.

        `root` is the agent on whose authority this one acts, if that is another.
        """
        bound: dict[str, Any] = {
            "tenant": tenant,
            "app": app,
            "agentDid": agent,
            "command": self.command,
            "resource": dict(self.resource),
            "args": None if self.args is None else dict(self.args),
            "context": dict(self.context or {}),
            "ttl": self.ttl,
            "root": root,
            "invokedBy": list(invoked_by),
        }
        if self.audience is not None:
            bound["audience"] = self.audience
        if self.pol:
            bound["pol"] = list(self.pol)
        return bound

    def facts(self, bundle: str) -> dict[str, Any]:
        """Return the facts about its origin that the delegation carries."""
        facts: dict[str, Any] = {"bundle": bundle}
        if self.purpose is not None:
            facts["purpose"] = self.purpose
        if self.context is not None:
            facts["agent"] = dict(self.context)
        return facts
