"""A question in canonical form, as it is decided on, signed and recorded. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nomos.models import Resource
from nomos.resources import CommandSpec, Provider


@dataclass(frozen=True)
class CanonicalRequest:
    """A question in canonical form.

    `spec` is None for a command that is not registered, which only a chain may ask for: that is
    denied, not refused. For a
    prefix it is None too, and `commands` has those that it stands for, sorted. `args` is
    None when they are not bound, `agent` when the app's own key stands in, `audience` when it is
    the PDP. `sent` has the args in the words of the agent, for people; `cosigner` names the
    envelope by which a person approved this. `pol` are further statements about each call.
    `service`: who it is for verifies tokens and decides nothing by policy.
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
        """Everything that a person's approval holds for; the purpose is only told.

        `root` is the agent on whose authority this one asks, if that is another.
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
        """What the delegation says about how it came to be."""
        facts: dict[str, Any] = {"bundle": bundle}
        if self.purpose is not None:
            facts["purpose"] = self.purpose
        if self.context is not None:
            facts["agent"] = dict(self.context)
        return facts
