"""Lists of what a command found: JSON lines, a table on a terminal, tab-separated columns else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from rich.console import RenderableType
from rich.table import Table

from nomos.cli.console import stdout

Row = Mapping[str, Any]
T = TypeVar("T")


def print_list(
    rows: Sequence[T],
    columns: Callable[[T], Sequence[str]],
    table: Callable[[Sequence[T]], RenderableType] | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Print each row as JSON or its `columns`; on a terminal a `table`, or nothing for no row."""
    if table is not None and stdout.is_terminal and not as_json:
        if rows:
            stdout.print(table(rows), soft_wrap=False)
        return
    for row in rows:
        print(json.dumps(row) if as_json else "\t".join(columns(row)), flush=True)


def new_table(*headings: str) -> Table:
    """Return a table without rows, in which long text is folded and never cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def local_time(at: datetime) -> str:
    """Return a time as `2026-05-23 18:12` in this machine's time zone, for a table."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}"
