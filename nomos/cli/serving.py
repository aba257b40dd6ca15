"""What `nomos dev` and `nomos pdp` share: signals that stop a server, and lists of its settings."""

from __future__ import annotations

import asyncio
import signal

from rich.text import Text

from nomos.cli.console import stdout


def interrupted() -> asyncio.Event:
    """Return an event of the running loop that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def print_facts(facts: dict[str, str], width: int) -> None:
    """Print names in a column of `width`, each with its value."""
    for name, value in facts.items():
        stdout.print(Text.assemble((f"  {name:<{width}}", "dim"), value))
