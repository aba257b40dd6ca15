"""What led to what: a question, people's answers and the allow, the call, how it ended.

A record names the one that led to it as its `parent`, which was written before it. So a parent
that is not among the earlier records is not looked for: its record starts a tree of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from nomos.audit.record import Record

END: Final = "_end"
"""What follows the id of an intent's record in that of its outcome."""


@dataclass(frozen=True)
class Node:
    """A record with those it led to, in the order in which they are given."""

    record: Record
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """This node and all beneath it, from the top."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)


def parent_of(record: Record) -> str | None:
    """The id of the record that led to this one; an outcome's is in its own id as well."""
    if record.parent is not None:
        return record.parent
    return record.id.removesuffix(END) if record.id.endswith(END) else None


def build_tree(records: Iterable[Record]) -> tuple[Node, ...]:
    """The trees that these records form, oldest first, with every record in exactly one."""
    nodes: dict[str, Node] = {}
    roots: list[Node] = []
    for record in records:
        node = Node(record)
        above = nodes.get(parent_of(record) or "")
        (roots if above is None else above.children).append(node)
        nodes.setdefault(record.id, node)
    return tuple(roots)
