"""Groups of similar agents of a swarm, so that a person can review hundreds of them.

Siblings are similar if they have the same delegations and refusals, are both revoked or not, and
the agents under them are similar as well. Numbers, resources and lifetimes are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nomos.audit.swarm import AgentSummary, DelegationSummary, Swarm


@dataclass(frozen=True)
class AgentGroup:
    """Similar agents, and the groups of the agents under them."""

    members: list[AgentSummary]
    below: list[AgentGroup] = field(default_factory=list)

    def walk(self) -> Iterator[AgentGroup]:
        """Yield this group and all groups under it, from the top."""
        waiting = [self]
        while waiting:
            group = waiting.pop()
            yield group
            waiting += reversed(group.below)


def grouped(swarm: Swarm, *, apart: bool = False) -> AgentGroup:
    """Return a swarm as groups, its root agent first; with `apart`, each agent is a group."""
    children: dict[str, list[AgentSummary]] = {}
    for member in swarm.members:
        if member.forked_by is not None:
            children.setdefault(member.forked_by, []).append(member)
    shapes = _shapes(swarm.members, children)
    top = AgentGroup(swarm.members[:1])
    waiting = [top]
    while waiting:
        group = waiting.pop()
        found: dict[object, AgentGroup] = {}
        for member in group.members:
            for child in children.get(member.agent, ()):
                key = child.agent if apart else shapes[child.agent]
                found.setdefault(key, AgentGroup([])).members.append(child)
        group.below.extend(found.values())
        waiting += group.below
    return top


def delegation_key(given: DelegationSummary) -> str:
    """Return a key that is equal for delegations that look the same in a tree."""
    what = [given.command, given.resource, given.pol, given.revoked is not None]
    return json.dumps(what, sort_keys=True)


def _shapes(
    members: Sequence[AgentSummary], children: dict[str, list[AgentSummary]]
) -> dict[str, int]:
    """Return a number for each agent that is equal for similar agents."""
    shapes: dict[str, int] = {}
    numbers: dict[object, int] = {}
    for member in reversed(members):  # children come before their parents
        shape = (
            frozenset(map(delegation_key, member.given)),
            frozenset((action.command, action.reason) for action in member.refused),
            member.revoked is not None,
            bool(member.asked),
            frozenset(shapes[child.agent] for child in children.get(member.agent, ())),
        )
        shapes[member.agent] = numbers.setdefault(shape, len(numbers))
    return shapes
