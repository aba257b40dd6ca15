"""The authority of a question: the app alone, or a chain that its agent holds. Pure.

A grant on a chain is signed again by the issuer, as one delegation to the agent. It names every
delegation that it replaces, has all of their policies, and ends no later than they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomos._core.unverified import UnverifiedLink
from nomos._json import mapping
from nomos.audit.canonical import canonical
from nomos.models import DenyReason
from nomos.server.domain.lineage import Lineage, strings

MAX_LINEAGE: Final = 64
"""The maximum number of delegations that one delegation may replace."""


@dataclass(frozen=True)
class ChainFault:
    """Why a chain cannot be the authority of a question; `root` is its first agent, if verified."""

    reason: DenyReason
    message: str
    root: str | None = None


@dataclass(frozen=True)
class HeldCapability:
    """A verified chain, with the agent that holds it.

    `ids` must not be revoked for it to be valid; `constraint` is what all of its links allow.
    """

    links: tuple[UnverifiedLink, ...]
    tokens: tuple[str, ...]
    descent: Lineage
    constraint: dict[str, Any] | None
    ids: frozenset[str]

    @property
    def command(self) -> str:
        """The command that the holder has, as a path or prefix."""
        return str(self.links[-1].payload["cmd"])

    @property
    def starts_at(self) -> int:
        """When the last link to become valid does so, in Unix seconds."""
        return max(int(link.payload["nbf"]) for link in self.links)

    @property
    def expires_at(self) -> int:
        """When the first link to expire does so, in Unix seconds."""
        return min(int(link.payload["exp"]) for link in self.links)

    @property
    def pol(self) -> list[Any]:
        """The statements of every link, without repetitions."""
        return merged([link.payload["pol"] for link in self.links])

    @property
    def apps(self) -> tuple[str, ...]:
        """The apps that the authority was granted to, sorted."""
        meta = mapping(self.links[0].payload.get("meta"))
        before = strings(mapping(meta.get("lineage")).get("apps"))
        return tuple(sorted(before | ({self.descent.app} if self.descent.app else set())))


@dataclass(frozen=True)
class DelegationContext:
    """The authority of a question besides the app.

    `held` is the chain that its agent holds, `fault` what is wrong with it; both are None for an
    agent without a parent. `record` is the record that led to the question, `label` the name that
    the app chose for the agents that will descend from it, with the app's own id before it.
    """

    held: HeldCapability | None = None
    fault: ChainFault | None = None
    record: str | None = None
    label: str | None = None

    @property
    def depth(self) -> int:
        """How often the authority was delegated by agents."""
        return self.held.descent.depth if self.held else 0

    @property
    def invoked_by(self) -> tuple[str, ...]:
        """Every agent between the issuer and the agent, sorted."""
        return self.held.descent.invoked_by if self.held else ()

    @property
    def swarm(self) -> str | None:
        """The name of the swarm."""
        return self.held.descent.swarm if self.held else self.label

    @property
    def explicit_swarm_id(self) -> str | None:
        """The name of the swarm if it is more than its first receipt's."""
        own = self.held.descent.receipt if self.held else None
        return None if self.swarm == own else self.swarm

    @property
    def on_behalf_of(self) -> str | None:
        """The agent on whose authority another one acts; None for an agent that acts for itself."""
        return self.held.descent.root if self.held and self.depth else None

    @property
    def ids(self) -> frozenset[str]:
        """The identifiers that must not be revoked for the authority to be valid."""
        return self.held.ids if self.held else frozenset()

    def root(self, agent: str) -> str:
        """Return the first agent with the authority: `agent` itself, or an ancestor of it."""
        if self.held is not None:
            return self.held.descent.root
        return (self.fault.root if self.fault else None) or agent

    def lineage(self, agent: str, app: str) -> dict[str, Any] | None:
        """Return the lineage claim of a delegation to `agent`; None if it has none."""
        if self.held is None and self.label is None:
            return None
        claim: dict[str, Any] = {
            "root": self.root(agent),
            "invokedBy": list(self.invoked_by),
            "depth": self.depth,
        }
        if self.swarm is not None:
            claim["swarmId"] = self.swarm
        others = [each for each in (self.held.apps if self.held else ()) if each != app]
        return claim | ({"apps": others} if others else {})


def merged(policies: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the statements of all policies, without repetitions."""
    found = {canonical(statement): statement for policy in policies for statement in policy}
    return list(found.values())
