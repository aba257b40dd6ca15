"""Records as trees: a question, the votes, the allow, the call and its outcome.

A record names the record that led to it as its `parent`, which was written earlier. A record whose
parent is not among the earlier ones is the root of a tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from nomos.audit.record import Record

END: Final = "_end"  # the suffix of an outcome's id after the id of its intent


@dataclass(frozen=True)
class Node:
    """A record with the records that it led to, in the order given."""

    record: Record
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yield this node and all nodes under it, from the top."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)


def parent_of(record: Record) -> str | None:
    """Return the id of the record that led to this one; an outcome's is in its own id, too."""
    if record.parent is not None:
        return record.parent
    return record.id.removesuffix(END) if record.id.endswith(END) else None


def build_tree(records: Iterable[Record]) -> tuple[Node, ...]:
    """Return the trees of these records, oldest first; every record is in exactly one."""
    nodes: dict[str, Node] = {}
    roots: list[Node] = []
    for record in records:
        node = Node(record)
        above = nodes.get(parent_of(record) or "")
        (roots if above is None else above.children).append(node)
        nodes.setdefault(record.id, node)
    return tuple(roots)
