"""What a question rests on: the app alone, or a chain that its agent holds from others. Pure.

What is granted on a chain is signed anew by the issuer, as one delegation to the agent, and
forgets nothing: it names every delegation it takes the place of, carries all of their policies,
and ends no later than they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomos._core.unverified import UnverifiedLink
from nomos.audit.canonical import canonical
from nomos.models import DenyReason
from nomos.server.domain.lineage import Lineage, mapping, strings

MAX_LINEAGE: Final = 64
"""Delegations that one delegation may take the place of."""


@dataclass(frozen=True)
class ChainFault:
    """Why a chain is no ground for what is asked; `root` is its first agent, if that is proven."""

    reason: DenyReason
    message: str
    root: str | None = None


@dataclass(frozen=True)
class HeldCapability:
    """A chain that was verified, with the agent that holds it.

    `ids` is what must not be revoked for it to hold, `constraint` what all of its links leave.
    """

    links: tuple[UnverifiedLink, ...]
    tokens: tuple[str, ...]
    descent: Lineage
    constraint: dict[str, Any] | None
    ids: frozenset[str]

    @property
    def command(self) -> str:
        """The command that the holder has, or what lies beneath it."""
        return str(self.links[-1].payload["cmd"])

    @property
    def starts_at(self) -> int:
        """When the last link to become valid does, in seconds."""
        return max(int(link.payload["nbf"]) for link in self.links)

    @property
    def expires_at(self) -> int:
        """When the first link to expire does, in seconds."""
        return min(int(link.payload["exp"]) for link in self.links)

    @property
    def pol(self) -> list[Any]:
        """The statements of every link, equal ones once."""
        return merged([link.payload["pol"] for link in self.links])

    @property
    def apps(self) -> tuple[str, ...]:
        """The apps that the authority was granted to, sorted."""
        meta = mapping(self.links[0].payload.get("meta"))
        before = strings(mapping(meta.get("lineage")).get("apps"))
        return tuple(sorted(before | ({self.descent.app} if self.descent.app else set())))


@dataclass(frozen=True)
class DelegationContext:
    """What a question rests on beside the app.

    `held` is the chain that its agent holds, `fault` what is wrong with it; neither for an agent
    that has no parent. `record` is the record that led here, `label` the name that the app gave
    to the agents that will come of this, with the app's own id before it.
    """

    held: HeldCapability | None = None
    fault: ChainFault | None = None
    record: str | None = None
    label: str | None = None

    @property
    def depth(self) -> int:
        """How often the authority was handed on."""
        return self.held.descent.depth if self.held else 0

    @property
    def invoked_by(self) -> tuple[str, ...]:
        """Everybody between the issuer and the agent, sorted."""
        return self.held.descent.invoked_by if self.held else ()

    @property
    def swarm(self) -> str | None:
        """The name of the family."""
        return self.held.descent.swarm if self.held else self.label

    @property
    def explicit_swarm_id(self) -> str | None:
        """The name of the family if it is more than its first receipt's."""
        own = self.held.descent.receipt if self.held else None
        return None if self.swarm == own else self.swarm

    @property
    def on_behalf_of(self) -> str | None:
        """The agent on whose authority another one asks; None for an agent that asks for itself."""
        return self.held.descent.root if self.held and self.depth else None

    @property
    def ids(self) -> frozenset[str]:
        """What must not be revoked for this to hold."""
        return self.held.ids if self.held else frozenset()

    def root(self, agent: str) -> str:
        """The agent at whose authority it all began: `agent` itself, or an ancestor of it."""
        if self.held is not None:
            return self.held.descent.root
        return (self.fault.root if self.fault else None) or agent

    def lineage(self, agent: str, app: str) -> dict[str, Any] | None:
        """What a delegation to `agent` says of those before it; None if there is nothing to say."""
        if self.held is None and self.label is None:
            return None
        said: dict[str, Any] = {
            "root": self.root(agent),
            "invokedBy": list(self.invoked_by),
            "depth": self.depth,
        }
        if self.swarm is not None:
            said["swarmId"] = self.swarm
        others = [each for each in (self.held.apps if self.held else ()) if each != app]
        return said | ({"apps": others} if others else {})


def merged(policies: Sequence[Sequence[Any]]) -> list[Any]:
    """Return all of their statements, equal ones once: they hold where each of them holds."""
    found = {canonical(statement): statement for policy in policies for statement in policy}
    return list(found.values())
