"""`nomos policy validate`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nomos.cli.server_extra import server_extra

with server_extra("policy"):
    from nomos.policy import bundle
    from nomos.server.pdp.catalog import load_catalog
    from nomos.server.policies import read_facts, read_policies


def validate(path: Path, providers: Path | None, console: Console) -> None:
    """Print what a valid bundle holds; raises `InvalidPolicy` for any other."""
    found = bundle.load(read_policies(path), load_catalog(providers), read_facts(path))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("policy", "effect", "where", "asks a person"):
        table.add_column(heading)
    for policy in found.policies:
        colour = "green" if policy.effect == "permit" else "red"
        table.add_row(
            Text(policy.name),
            Text(policy.effect, style=colour),
            Text(f"{policy.file}:{policy.line}", style="dim"),
            Text(policy.step_up or ""),
        )
    if found.policies:
        console.print(table)
    else:
        console.print("no policies: every question will be denied")
    count = len(found.policies)
    console.print(
        Text.assemble(
            ("valid", "bold green"),
            f"  {count} {'policy' if count == 1 else 'policies'}, bundle {found.hash}",
        )
    )
