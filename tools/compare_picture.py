"""Compare the layers that `ARCHITECTURE.md` draws with the imports of the code; print both.

    python tools/compare_picture.py            exit 1 if they differ

The page's table has the rows, from the top, with the parts of each. A part may import from its own
row and from those under it. These differ from that: a part that has no row, or is not in the code,
or has two rows; an import of a higher row; imports within a row that lead back to where they began.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from tools.generate_architecture import PAGE, arrows

ALLOWED: Final = {
    ("_guard", "embedded"): "inside AuthGuard.embedded, which starts the server",
    **{
        (part, "guard"): "for types alone: a value of a guard names it"
        for part in ("_grant", "_approvals")
    },
    ("errors", "models"): "for types alone: the codes of refusals",
}
"""Imports that the rows do not allow, and why they stand."""


def drawn(page: str) -> list[tuple[str, list[str]]]:
    """Return the rows of the page's table: name and parts, from the top."""
    table = page.split("| row | parts |\n|---|---|\n", 1)[1].split("\n\n", 1)[0]
    rows = (line.strip("| ").split(" | ") for line in table.splitlines())
    return [(name, re.findall(r"`([^`]+)`", parts)) for name, parts in rows]


def differences(rows: list[tuple[str, list[str]]], graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield, as a sentence each, where the table and the imports differ."""
    order = [(part, index) for index, (_, parts) in enumerate(rows) for part in parts]
    place = dict(order)
    real = graph.keys() | set().union(*graph.values())
    yield from (f"{part} has two rows" for part, index in order if place[part] != index)
    yield from (f"{part} has no row" for part in sorted(real - place.keys()))
    yield from (f"{part} is not in the code" for part in sorted(place.keys() - real))
    for part, index in order:
        for other in sorted(graph.get(part, ())):
            if place.get(other, index) < index and (part, other) not in ALLOWED:
                yield f"{part} imports {other}, of a higher row"
    for name, parts in rows:
        inner = {
            part: {each for each in graph.get(part, ()) if each in parts}
            - {each for each in parts if (part, each) in ALLOWED}
            for part in parts
        }
        try:
            TopologicalSorter(inner).prepare()
        except CycleError as cycle:
            yield f"{name}: {' imports '.join(reversed(cycle.args[1]))}"


def shown(rows: list[tuple[str, list[str]]], graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield the lines that are printed: each row as drawn, and what its parts import, by row."""
    where = {part: name for name, parts in rows for part in parts}
    for name, parts in rows:
        yield f"{name}"
        for part in parts:
            by_row: dict[str, list[str]] = {}
            for other in sorted(graph.get(part, ())):
                by_row.setdefault(where.get(other, "no row"), []).append(other)
            names = [each for each in (*dict(rows), "no row") if each in by_row]
            found = "; ".join(f"{each}: {', '.join(by_row[each])}" for each in names)
            yield f"    {part:22} {found or 'nothing of ours'}"


def main() -> int:
    """Print the rows with their imports, then the differences."""
    rows, graph = drawn(PAGE.read_text("utf-8")), arrows()
    print("\n".join(shown(rows, graph)))
    found = list(differences(rows, graph))
    imports = [(part, other) for part, others in sorted(graph.items()) for other in sorted(others)]
    print(f"\n{len(imports)} imports between {len(graph)} parts; {len(found)} differ from the page")
    for (part, other), why in ALLOWED.items():
        print(f"    allowed: {part} imports {other}, {why}")
    print("".join(f"    {each}\n" for each in found), end="")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
