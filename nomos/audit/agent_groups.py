"""Members of a swarm that are alike, put together so that a person can look at hundreds of them.

Siblings are alike when they were given the same, were refused the same, are revoked or not, and
everybody beneath them is alike as well. How often they did something, on what, and how long
they may, is not compared. What is put together is put together all the way down.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nomos.audit.swarm import AgentSummary, DelegationSummary, Swarm


@dataclass(frozen=True)
class AgentGroup:
    """Members that are alike, and the groups of all who come from them."""

    members: list[AgentSummary]
    beneath: list[AgentGroup] = field(default_factory=list)

    def walk(self) -> Iterator[AgentGroup]:
        """This group and all beneath it, from the top."""
        waiting = [self]
        while waiting:
            group = waiting.pop()
            yield group
            waiting += reversed(group.beneath)


def grouped(swarm: Swarm, *, apart: bool = False) -> AgentGroup:
    """The swarm as groups, its root agent at the top; `apart`: every member by itself."""
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
        group.beneath.extend(found.values())
        waiting += group.beneath
    return top


def delegation_key(given: DelegationSummary) -> str:
    """What makes two delegations the same to a person who looks at a tree."""
    what = [given.command, given.resource, given.pol, given.revoked is not None]
    return json.dumps(what, sort_keys=True)


def _shapes(
    members: Sequence[AgentSummary], children: dict[str, list[AgentSummary]]
) -> dict[str, int]:
    """A number for each member, equal for those who are alike."""
    shapes: dict[str, int] = {}
    numbers: dict[object, int] = {}
    for member in reversed(members):  # each comes after the one it came from
        shape = (
            frozenset(map(delegation_key, member.given)),
            frozenset((deed.command, deed.reason) for deed in member.refused),
            member.revoked is not None,
            bool(member.asked),
            frozenset(shapes[child.agent] for child in children.get(member.agent, ())),
        )
        shapes[member.agent] = numbers.setdefault(shape, len(numbers))
    return shapes
