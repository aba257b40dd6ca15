"""Swarms built from the records of an audit log, one record after the other.

A link (kind `delegation`) places an agent once, under the agent that delegated to it; decisions and
calls are counted for the agent that made them. Exported rows are not trusted: a member of the
wrong type counts as absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from nomos.audit.agent_activity import AgentActivity, delegator
from nomos.audit.record import Record
from nomos.audit.swarm import Counts, Swarm, recorded_at
from nomos.audit.tree import END

_TYPES: Final = {
    **dict.fromkeys(("app", "agent", "command", "reason", "cid", "parent", "root", "actor"), str),
    **dict.fromkeys(("expires_at", "status"), int),
    "resource": Mapping,
}


class SwarmBuilder:
    """One swarm, built from its records, oldest first."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.order = 0  # of the last link among all records
        self._people = {root: AgentActivity(root)}
        self._known: set[str] = set()
        self._labels: dict[str, None] = {}
        self._apps: dict[str, None] = {}
        self._grants: dict[str, Record] = {}
        self._intents: dict[str, Record] = {}
        self._first: int | None = None
        self._last = 0

    def add(self, record: Record) -> None:
        """Add the next record of this swarm; it names an agent."""
        agent = str(record.agent)
        person = self._people.setdefault(agent, AgentActivity(agent))
        self._note(record)
        if record.kind == "delegation":
            self._link(record, person)
        elif record.kind == "decision":
            if record.decision == "allow":
                self._grants[record.id] = record
            person.add(record)
        elif record.kind == "call":
            self._call(record, person)

    def holds(self, ident: str) -> bool:
        """Whether an agent, a record, a delegation or a label with this id belongs to the swarm."""
        if ident in self._people or ident in self._known or ident in self._labels:
            return True
        # A label may be passed without its app.
        return any(label.partition("/")[2] == ident for label in self._labels)

    @property
    def delegated(self) -> bool:
        """Whether the swarm has any delegation between agents."""
        return self.order > 0

    def swarm(self, revoked: Mapping[str, Record], *, complete: bool = True) -> Swarm:
        """Return the swarm with `revoked`, by cid or DID. No record can be added after this."""
        for record in self._intents.values():  # calls without a recorded outcome
            self._people[str(record.agent)].add(record)
        self._intents.clear()
        self._show_revoked_grants(revoked)
        members = [each.member(revoked) for each in self._in_order()]
        unverified = [
            each.member(revoked)
            for each in self._people.values()
            if each.parent is None and each.agent != self.root
        ]
        everyone = [*members, *unverified]
        taken = sum(each.revoked is not None for each in members)
        taken += sum(given.revoked is not None for each in members for given in each.given)
        return Swarm(
            root=self.root,
            labels=list(self._labels),
            apps=list(self._apps),
            agents=len(members),
            depth=max(each.depth for each in members),
            decisions=_sum(each.decisions for each in everyone),
            calls=_sum(each.calls for each in everyone),
            revoked=taken,
            first_at=recorded_at(self._first),
            last_at=recorded_at(self._last),
            complete=complete,
            members=members,
            unverified_agents=unverified,
        )

    def _note(self, record: Record) -> None:
        """Register the ids by which the record can be found, and its time."""
        self._first = record.at if self._first is None else min(self._first, record.at)
        self._last = max(self._last, record.at)
        self._known |= {record.id} if record.cid is None else {record.id, record.cid}
        label = record.detail.get("swarm")
        if isinstance(label, str):
            self._labels[label] = None
        if record.app is not None:
            self._apps[record.app] = None

    def _link(self, record: Record, person: AgentActivity) -> None:
        self.order += 1
        person.given.setdefault(record.cid or record.id, record)
        by = self._people.get(delegator(record) or "")
        if person.parent is None and person.agent != self.root:
            # An agent that was not placed cannot place others, so the root is the parent.
            placed = by is not None and (by.parent is not None or by.agent == self.root)
            above = by if by is not None and placed else self._people[self.root]
            person.parent, person.depth = above, above.depth + 1
        granted = self._grants.get(record.parent or "")
        if granted is not None:
            holder = self._people[str(granted.agent)]
            holder.given.setdefault(granted.cid or granted.id, granted)

    def _call(self, record: Record, person: AgentActivity) -> None:
        """Count a call once: a write has a record before it and one after it."""
        intent = self._intents.pop(record.id.removesuffix(END), None)
        if record.decision == "allow" and record.status is None and intent is None:
            self._intents[record.id] = record
        else:
            person.add(record)

    def _show_revoked_grants(self, revoked: Mapping[str, Record]) -> None:
        for granted in self._grants.values():
            if granted.cid in revoked:
                self._people[str(granted.agent)].given.setdefault(str(granted.cid), granted)

    def _in_order(self) -> Iterator[AgentActivity]:
        """Yield the root and all agents under it, every agent after its parent."""
        children: dict[str, list[AgentActivity]] = {}
        for person in self._people.values():
            if person.parent is not None:
                children.setdefault(person.parent.agent, []).append(person)
        waiting = [self._people[self.root]]
        while waiting:
            person = waiting.pop()
            yield person
            waiting += reversed(children.get(person.agent, []))


class SwarmsBuilder:
    """All swarms of a log, with their revocations."""

    def __init__(self) -> None:
        self._families: dict[str, SwarmBuilder] = {}
        self._revoked: dict[str, Record] = {}
        self._links = 0

    def add(self, given: Record) -> None:
        """Add the next record of the log, of any kind."""
        record = _sound(given)
        if record is None:
            return
        if record.kind == "revocation":
            ident = record.detail.get("id")
            if isinstance(ident, str):
                self._revoked.setdefault(ident, record)
        elif record.root is not None and record.agent is not None:
            family = self._families.setdefault(record.root, SwarmBuilder(record.root))
            family.add(record)
            if record.kind == "delegation":
                self._links += 1
                family.order = self._links

    def swarm(self, root: str, *, complete: bool = True) -> Swarm:
        """Return the swarm of `root`, which may be its only agent."""
        family = self._families.get(root) or SwarmBuilder(root)
        return family.swarm(self._revoked, complete=complete)

    def latest(self, limit: int) -> tuple[Swarm, ...]:
        """Return the swarms with delegations between agents, the most recently extended first."""
        found = [each for each in self._families.values() if each.delegated]
        found.sort(key=lambda family: family.order, reverse=True)
        return tuple(family.swarm(self._revoked) for family in found[:limit])

    def roots_of(self, ident: str) -> tuple[str, ...]:
        """Return the root agents of the swarms of an agent, a record, a delegation or a label.

        The swarm that the agent itself is the root of comes first, then the most recent.
        """
        found = [each for each in self._families.values() if each.holds(ident)]
        found.sort(key=lambda family: (family.root == ident, family.order), reverse=True)
        return tuple(family.root for family in found)


def _sum(counts: Iterable[Counts]) -> Counts:
    every = list(counts)
    return Counts(
        allowed=sum(each.allowed for each in every),
        refused=sum(each.refused for each in every),
        asked=sum(each.asked for each in every),
    )


def _sound(record: Record) -> Record | None:
    """Return the record without members of a wrong type; None if it has no id."""
    if not isinstance(record.id, str):
        return None
    wrong: dict[str, Any] = {
        name: None
        for name, kind in _TYPES.items()
        if (value := getattr(record, name)) is not None and not isinstance(value, kind)
    }
    if not isinstance(record.detail, Mapping):
        wrong["detail"] = {}
    if type(record.at) is not int:
        wrong["at"] = 0
    return replace(record, **wrong) if wrong else record
