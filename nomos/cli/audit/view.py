"""Audit records and verification reports as terminal text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from nomos._times import in_table
from nomos.audit.findings import Report
from nomos.audit.record import Record, read
from nomos.audit.tree import Node, build_tree
from nomos.cli.visible_text import MAX_LINE, plain, value_text
from nomos.models import describe_resource

STYLES: Final = {
    "allow": "green",
    "approve": "green",
    "deny": "red",
    "revoke": "red",
    "requires_step_up": "yellow",
}
"""The style of each decision, and of each act of an operator."""


def line(row: Mapping[str, Any]) -> Text:
    """Return a record as one line."""
    record = read(row)
    return Text.assemble(
        (f"{row['seq']:>6} ", "dim"), (f"{moment(record.at)} ", "dim"), render_record(record)
    )


def render_record(record: Record) -> Text:
    """Return a record's content, without its row number and time."""
    what = record.act or record.decision or ("delegate" if record.kind == "delegation" else "?")
    if record.kind == "call" and record.status is None and what == "allow":
        what = "intent"  # the outcome is a separate record
    text = Text.assemble(
        (f"{record.kind:<10} ", ""), (f"{what:<16} ", f"bold {STYLES.get(what, 'cyan')}")
    )
    if record.command is not None:
        text.append(f"{plain(record.command)} ", "bold")
    if record.resource:
        text.append(f"{plain(describe_resource(record.resource))} ")
    if record.kind == "delegation" and record.agent is not None:
        text.append("to ", "dim").append(f"{plain(record.agent)} ")
    for name, value in record.detail.items():
        text.append(f"{plain(name)} ", "dim")
        text.append(f"{plain(value_text(value))} ")
    if record.reason is not None:
        text.append(f"{record.reason} ", "red")
    if record.policies:
        text.append(f"by {plain(', '.join(record.policies))} ", "magenta")
    if record.status is not None and record.kind == "call":
        text.append(f"HTTP {record.status} ")
    if record.actor is not None:
        text.append(f"by {record.actor} ", "cyan")
    text.append(record.id, "dim")
    return text


def trees(rows: Iterable[Mapping[str, Any]], console: Console, *, marked: str | None) -> None:
    """Print trees of records. If the output is not a terminal, each record is one line."""
    wide = Console(file=console.file, width=MAX_LINE, highlight=False)
    for root in build_tree(map(read, rows)):
        # On a terminal, lines are folded and never cut.
        shown = console if console.is_terminal else wide
        shown.print(_tree(root, marked), soft_wrap=False)


def report(found: Report, console: Console) -> None:
    """Print the result of a verification: the verdict, its facts, and what is not proven."""
    mark, style = {
        "ok": ("ok", "bold green"),
        "wrong": ("WRONG", "bold red"),
        "incomplete": ("INCOMPLETE", "bold yellow"),
        "unreadable": ("UNREADABLE", "bold yellow"),
    }[found.state]
    console.print(Text.assemble((f"{mark}: ", style), plain(found.message, 1000)))
    if found.finding is not None:
        where = f"{found.finding.kind}, line {found.finding.line}"
        console.print(Text(f"  found: {where}", style="dim"))
        console.print(Text(f"  valid rows before it: {found.rows}", style="dim"))
    elif found.ok:
        console.print(Text(f"  tenant {plain(found.tenant or '')}, signed by {found.signer}"))
        console.print(Text(f"  last row {found.head.seq}, hash {found.head.hash}"))
        console.print(_tail(found))
    for warning in found.warnings:
        console.print(Text.assemble(("  warning: ", "bold yellow"), plain(warning, 1000)))


def moment(at: int) -> str:
    """Return a time as `2026-05-23 18:12:00Z`, or the number if it is outside the calendar."""
    try:
        return in_table(at / 1000)
    except (ValueError, OverflowError, OSError):
        return str(at)


def _tail(found: Report) -> Text:
    if found.pinned is None:
        return Text.assemble(
            ("  the end of the log is not proven: ", "yellow"),
            "later rows may have been removed. Keep the output of "
            "`nomos audit checkpoint`, and pass it as --checkpoint",
        )
    later = found.head.seq - found.pinned
    more = f"; {later} rows follow it" if later else ""
    return Text(f"  the checkpoint over row {found.pinned} agrees{more}", style="green")


def _tree(node: Node, marked: str | None) -> Tree:
    top = Tree(_label(node, marked), guide_style="dim")
    waiting = [(node, top)]
    while waiting:
        at, branch = waiting.pop()
        waiting += [(child, branch.add(_label(child, marked))) for child in at.children]
    return top


def _label(node: Node, marked: str | None) -> Text:
    text = Text.assemble((f"{moment(node.record.at)} ", "dim"), render_record(node.record))
    if node.record.id == marked:
        text.append("  <- this one", "bold cyan")
    return text
