"""Swarms as terminal text: a tree of agents, in which equal agents are grouped.

Each agent is shown with its delegations, its actions and its refusals. DIDs are abbreviated,
unless everything is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text
from rich.tree import Tree

from nomos.audit.agent_groups import AgentGroup as Alike
from nomos.audit.agent_groups import delegation_key, grouped
from nomos.audit.swarm import (
    AgentAction,
    AgentSummary,
    DelegationSummary,
    RevocationSummary,
    Swarm,
    SwarmSummary,
)
from nomos.cli.visible_text import MAX_LINE, plain
from nomos.constraints import from_pol
from nomos.errors import ConfigurationError
from nomos.models import describe_resource

NAMED: Final = 2  # agents of a group that are named; the others are counted
LISTED: Final = 4
"""Commands listed for each kind of action of a group; the others are counted."""

_KEY: Final = "did:key:z6Mk"
_LETTERS: Final = 4
_MOST_LETTERS: Final = 22
_LABEL: Final = 9
_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=", "like")
_STYLES: Final = {"refused": "red", "asked": "yellow"}


@dataclass(frozen=True)
class Line:
    """A label with a text, which is folded in its own column."""

    label: str
    text: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width - _LABEL, 20)
        for number, part in enumerate(self.text.wrap(console, width, overflow="fold")):
            part.rstrip()
            label = "" if number else self.label
            yield Text.assemble((f"{label:<{_LABEL}}", "dim"), part)


@dataclass
class _ActionSum:
    """The number and resources of equal actions of several agents."""

    times: int = 0
    resources: dict[str, None] = field(default_factory=dict)


def tree(swarm: Swarm, console: Console, *, everything: bool) -> None:
    """Print a swarm: a heading, its agents, and unverified agents that sent chains of it."""
    shown = _SwarmView(swarm, everything=everything)
    # On a terminal, lines are folded and never cut. Otherwise each fact is one line.
    out = console if console.is_terminal else Console(file=console.file, width=MAX_LINE)
    out.print(heading(swarm))
    out.print()
    out.print(shown.tree(), soft_wrap=False)
    if not swarm.complete:
        out.print(
            Text(
                "The audit log has more records of this swarm: only the latest were read.", "yellow"
            )
        )


def heading(swarm: SwarmSummary) -> Text:
    """Return a swarm in two lines: its root and labels, and its totals."""
    text = Text.assemble((plain(swarm.root), "bold"))
    if swarm.labels:
        text.append(f"  {plain(', '.join(swarm.labels))}", "cyan")
    most = "" if swarm.complete else "at least "
    parts = [
        f"{_count(swarm.agents, 'agent')}, {swarm.depth} deep",
        f"{most}{_count(swarm.calls.allowed, 'call')}",
    ]
    text.append("\n  " + " · ".join(parts), "dim")
    refused = swarm.calls.refused + swarm.decisions.refused
    for many, what, style in ((refused, "refused", "red"), (swarm.revoked, "revoked", "red")):
        if many:
            text.append(" · ", "dim").append(f"{many} {what}", style)
    return text.append(f" · last {_full(swarm.last_at)}", "dim")


class _SwarmView:
    """Renders one swarm."""

    def __init__(self, swarm: Swarm, *, everything: bool) -> None:
        self._swarm = swarm
        self._all = everything
        self._today = swarm.last_at[:10]
        agents = [each.agent for each in (*swarm.members, *swarm.unverified_agents)]
        self._name: Callable[[str], str] = plain if everything else names(agents)

    def tree(self) -> Tree:
        top = grouped(self._swarm, apart=self._all)
        root = Tree(self._group(top), guide_style="dim")
        waiting = [(top, root)]
        while waiting:
            at, branch = waiting.pop()
            waiting += [(each, branch.add(self._group(each))) for each in at.below]
        if self._swarm.unverified_agents:
            branch = root.add(Text("unverified: never seen with a valid chain", "bold red"))
            for unverified in self._swarm.unverified_agents:
                branch.add(self._group(Alike([unverified])))
        return root

    def _group(self, group: Alike) -> Group:
        members = group.members
        lines = [line for same in self._delegations(members) for line in self._delegation(same)]
        listed = {(given.command, _on(given.resource)) for each in members for given in each.given}
        allowed = [action for member in members for action in member.allowed]
        granted = [
            each
            for each in allowed
            if each.kind == "decision" and (each.command, _on(each.resource)) not in listed
        ]
        lines += self._actions("granted", granted)
        lines += self._actions("called", [each for each in allowed if each.kind == "call"])
        lines += self._actions("asked", [action for member in members for action in member.asked])
        lines += self._actions(
            "refused", [action for member in members for action in member.refused]
        )
        unlisted = sum(member.unlisted for member in members)
        if unlisted:
            lines.append(Line("", Text(f"and {unlisted} earlier actions", "dim")))
        return Group(self._who(members), *lines)

    def _who(self, members: Sequence[AgentSummary]) -> Text:
        first = members[0]
        if len(members) == 1:
            text = Text(self._name(first.agent), "bold")
            if first.agent == self._swarm.root:
                text.append("  root agent", "dim")
        else:
            text = Text(f"{len(members)} equal agents", "bold")
            some = ", ".join(self._name(each.agent) for each in members[:NAMED])
            more = f", … {len(members) - NAMED} more" if len(members) > NAMED else ""
            text.append(f"  {some}{more}", "dim")
        if first.revoked is not None:
            text.append(f"  {self._revoked(first.revoked)}", "bold red")
        last = max((each.last_at for each in members if each.last_at), default=None)
        if last is not None:
            text.append(f"  last {self._time(last)}", "dim")
        return text

    def _delegations(
        self, members: Sequence[AgentSummary]
    ) -> list[list[tuple[AgentSummary, DelegationSummary]]]:
        """Return the delegations of some agents, equal ones together."""
        found: dict[str, list[tuple[AgentSummary, DelegationSummary]]] = {}
        for member in members:
            for given in member.given:
                key = given.receipt_id if self._all else delegation_key(given)
                found.setdefault(key, []).append((member, given))
        return list(found.values())

    def _delegation(self, same: Sequence[tuple[AgentSummary, DelegationSummary]]) -> Iterator[Line]:
        member, given = same[0]
        text = Text.assemble((plain(given.command), "bold"), f" on {_on(given.resource)}")
        for statement in given.pol:
            text.append(" if ", "dim").append(plain(condition(statement)))
        ends = [each.expires_at for _, each in same if each.expires_at is not None]
        if ends:
            text.append(f" until {self._time(max(ends))}", "dim")
        if given.by is not None and given.by != member.forked_by:
            text.append(f" from {self._name(given.by)}", "dim")
        if given.revoked is not None:
            text.append(f" {self._revoked(given.revoked)}", "bold red")
        yield Line("granted" if given.by is None else "given", text)
        if self._all and given.cid is not None:
            yield Line("cid", Text(plain(given.cid), "dim"))

    def _actions(self, label: str, actions: Iterable[AgentAction]) -> list[Line]:
        sums: dict[tuple[str, str], _ActionSum] = {}
        for action in actions:
            found = sums.setdefault((action.command or "", action.reason or ""), _ActionSum())
            found.times += action.times
            found.resources[_on(action.resource)] = None
        listed = list(sums.items()) if self._all else list(sums.items())[:LISTED]
        style = _STYLES.get(label, "")
        lines = [Line(label, self._action(what, each, style)) for what, each in listed]
        if len(sums) > len(listed):
            rest = sum(each.times for _, each in list(sums.items())[len(listed) :])
            lines.append(Line("", Text(f"and {rest} more: --all shows them", "dim")))
        return lines

    def _action(self, what: tuple[str, str], found: _ActionSum, style: str) -> Text:
        command, reason = what
        text = Text.assemble((plain(command) or "?", style or "bold"))
        if found.times > 1:
            text.append(f" {found.times} times")
        every = list(found.resources)
        if self._all or len(every) == 1:
            text.append(f" on {', '.join(every)}")
        else:
            text.append(f" on {len(every)} resources")
        if reason:
            text.append(f" {plain(reason)}", style)
        return text

    def _revoked(self, revoked: RevocationSummary) -> str:
        why = f": {plain(revoked.reason)}" if revoked.reason else ""
        return f"revoked {self._time(revoked.at)}{why}"

    def _time(self, at: str) -> str:
        """Return a time; its date is left out on the day of the swarm's last activity."""
        return f"{at[11:19]}Z" if at[:10] == self._today else _full(at)


def condition(statement: Any) -> str:
    """Return a statement as `.args.state == "open"` or in words; any other value as JSON."""
    match statement:
        case [str(operator), str(selector), value] if operator in _COMPARISONS:
            return f"{selector} {operator} {json.dumps(value, ensure_ascii=False)}"
    try:
        return str(from_pol([statement]))
    except ConfigurationError:
        return json.dumps(statement, ensure_ascii=False)


def names(agents: Sequence[str]) -> Callable[[str], str]:
    """Return a function that abbreviates the DIDs of `agents`, each to a different text."""
    for letters in range(_LETTERS, _MOST_LETTERS, 2):
        if len({short(each, letters) for each in agents}) == len(set(agents)):
            return lambda did: short(did, letters)
    return plain


def short(did: str, letters: int = _LETTERS) -> str:
    """Return a DID abbreviated, `z6MkhaXg…2doK`; other text is not abbreviated."""
    key = did.removeprefix(_KEY)
    if key == did or len(key) <= 2 * letters + 1:
        return plain(did)
    return plain(f"z6Mk{key[:letters]}…{key[-letters:]}")


def _on(resource: dict[str, object]) -> str:
    return plain(describe_resource(resource)) if resource else "anything"


def _full(at: str) -> str:
    return f"{at[:10]} {at[11:19]}Z"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
