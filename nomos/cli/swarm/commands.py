"""`nomos swarm`: who forked whom, with what, and what each one did; from a server or an export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from nomos._core.signing import is_did
from nomos.cli import reply_checks
from nomos.cli.client import ControlUrl, KeyFile, Operator, part
from nomos.cli.console import AsJson, stderr, stdout
from nomos.cli.errors import reports_errors

if TYPE_CHECKING:
    from nomos.audit.swarm import Swarm, SwarmSummary

group = typer.Typer(help="See families of agents, and what each one did.", no_args_is_help=True)

MOST = 50
_NOTHING = Text("no agent has handed anything on yet", style="dim")

File = Annotated[
    Path | None,
    typer.Option(help="An export of the audit log, instead of a server.", show_default=False),
]


@group.command("list")
@reports_errors
def list_(
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=MOST, help="How many.")] = 10,
    file: File = None,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List the swarms in which something was handed on lately, the latest first."""
    from nomos.audit.swarm import SwarmSummary
    from nomos.cli.swarm import sources, view

    if file is not None:
        found: Sequence[SwarmSummary] = [each.summary() for each in sources.latest(file, lines)]
        _unproven(file)
    else:
        with Operator.find(control_url, key_file) as operator:
            reply = operator.get("/v1/swarms", limit=lines)
        found = [sources.parsed(SwarmSummary, each) for each in reply["swarms"]]
    for each in found:
        stdout.print(_line(each) if as_json else view.heading(each))
    if not found and not as_json:
        stderr.print(_NOTHING)


@group.command()
@reports_errors
def tree(
    ident: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="An agent's DID, a receipt, a cid or a label; by default, the latest swarm.",
            show_default=False,
        ),
    ] = None,
    *,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=MOST, help="How many of the latest.")
    ] = 1,
    everything: Annotated[
        bool, typer.Option("--all", help="Every agent by itself, and nothing in short.")
    ] = False,
    file: File = None,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show who forked whom, with what, and what each one did.

    Agents that were given the same and refused the same are shown together; --all shows each.
    Nothing is proved here: that is what `nomos audit verify` is for.
    """
    from nomos.cli.swarm import view

    if file is not None:
        found = _in_file(file, ident, lines)
    else:
        with Operator.find(control_url, key_file) as operator:
            found = _asked(operator, ident, lines)
    for number, each in enumerate(found):
        if as_json:
            stdout.print(_line(each))
            continue
        if number:
            stdout.print()
        view.tree(each, stdout, everything=everything)
    if not found and not as_json:
        stderr.print(_NOTHING)


def _asked(operator: Operator, ident: str | None, lines: int) -> list[Swarm]:
    from nomos.audit.swarm import Swarm
    from nomos.cli.swarm import sources

    if ident is not None:
        reply = operator.get(f"/v1/swarms/{part(ident)}")
        # An agent is named by its DID in its family; labels and records need not be.
        agents = [each["agent"] for each in _agents(reply)]
        if is_did(ident) and reply.get("complete"):
            reply_checks.holds(ident, agents)
        elif is_did(ident) and ident not in agents:
            stderr.print(Text(f"{ident} is not among the agents shown", style="yellow"))
        _also(reply.get("others", []))
        return [sources.parsed(Swarm, reply)]
    roots = [str(each["root"]) for each in operator.get("/v1/swarms", limit=lines)["swarms"]]
    replies = [operator.get(f"/v1/swarms/{part(each)}", about={"root": each}) for each in roots]
    return [sources.parsed(Swarm, reply) for reply in replies]


def _agents(reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*reply["members"], *reply.get("strangers", [])]


def _in_file(file: Path, ident: str | None, lines: int) -> list[Swarm]:
    from nomos.cli.swarm import sources

    if ident is None:
        found = sources.latest(file, lines)
    else:
        swarm, others = sources.find(file, ident)
        _also(others)
        found = [swarm]
    _unproven(file)
    return found


def _also(others: Sequence[str]) -> None:
    if others:
        stderr.print(Text(f"also in the swarms of {', '.join(others)}", style="dim"))


def _unproven(file: Path) -> None:
    proof = f"nomos audit verify {file} --issuer did:key:…"
    stderr.print(Text(f"from {file}, unproved: {proof}", style="dim"))


def _line(value: SwarmSummary) -> Text:
    return Text(json.dumps(value.as_json()))
