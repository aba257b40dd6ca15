"""`nomos swarm`: agents, what each delegated and did; from a server or an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from nomos._identifiers import is_did
from nomos.cli import reply_checks
from nomos.cli.client import ControlUrl, KeyFile, Operator, part
from nomos.cli.console import print_json, stderr, stdout
from nomos.cli.errors import reports_errors
from nomos.cli.options import AsJson

if TYPE_CHECKING:
    from nomos.audit.swarm import Swarm, SwarmSummary

group = typer.Typer(
    help="Show swarms: agents, what each delegated, and what each did.", no_args_is_help=True
)

MAX_SWARMS = 50
_NOTHING = Text("no agent has delegated anything yet", style="dim")

File = Annotated[
    Path | None,
    typer.Option(help="Export of the audit log to read. Default: ask the control plane."),
]


@group.command("list")
@reports_errors
def list_(
    *,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=MAX_SWARMS, help="Number of swarms.")
    ] = 10,
    file: File = None,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List swarms, the one with the latest delegation first."""
    from nomos.audit.swarm import SwarmSummary
    from nomos.cli.swarm import sources, view

    if file is not None:
        found: Sequence[SwarmSummary] = [each.summary() for each in sources.latest(file, lines)]
        _note_unverified(file)
    else:
        with Operator.find(control_url, key_file) as operator:
            reply = operator.get("/v1/swarms", limit=lines)
        found = [sources.parsed(SwarmSummary, each) for each in reply["swarms"]]
    for each in found:
        if as_json:
            print_json(each.as_json())
        else:
            stdout.print(view.heading(each))
    if not found and not as_json:
        stderr.print(_NOTHING)


@group.command()
@reports_errors
def tree(
    ident: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="Agent's DID, receipt, cid or label in the swarm. Default: the latest swarms.",
        ),
    ] = None,
    *,
    lines: Annotated[
        int,
        typer.Option(
            "--lines", "-n", min=1, max=MAX_SWARMS, help="Number of latest swarms, without an ID."
        ),
    ] = 1,
    everything: Annotated[
        bool, typer.Option("--all", help="Do not group agents or abbreviate ids.")
    ] = False,
    file: File = None,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a swarm as a tree: which agent delegated what to which, and what each did.

    Agents with equal delegations and equal refusals are grouped; --all shows each. Nothing is
    verified here: see `nomos audit verify`.
    """
    from nomos.cli.swarm import view

    if file is not None:
        found = _from_file(file, ident, lines)
    else:
        with Operator.find(control_url, key_file) as operator:
            found = _from_server(operator, ident, lines)
    for number, each in enumerate(found):
        if as_json:
            print_json(each.as_json())
            continue
        if number:
            stdout.print()
        view.tree(each, stdout, everything=everything)
    if not found and not as_json:
        stderr.print(_NOTHING)


def _from_server(operator: Operator, ident: str | None, lines: int) -> list[Swarm]:
    from nomos.audit.swarm import Swarm
    from nomos.cli.swarm import sources

    if ident is not None:
        reply = operator.get(f"/v1/swarms/{part(ident)}")
        # The reply must contain an agent that was requested by its DID.
        agents = [each["agent"] for each in _agents(reply)]
        if is_did(ident) and reply.get("complete"):
            reply_checks.check_contains(ident, agents)
        elif is_did(ident) and ident not in agents:
            stderr.print(Text(f"{ident} is not among the agents shown", style="yellow"))
        _note_others(reply.get("others", []))
        return [sources.parsed(Swarm, reply)]
    roots = [str(each["root"]) for each in operator.get("/v1/swarms", limit=lines)["swarms"]]
    replies = [operator.get(f"/v1/swarms/{part(each)}", about={"root": each}) for each in roots]
    return [sources.parsed(Swarm, reply) for reply in replies]


def _agents(reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*reply["members"], *reply.get("unverifiedAgents", [])]


def _from_file(file: Path, ident: str | None, lines: int) -> list[Swarm]:
    from nomos.cli.swarm import sources

    if ident is None:
        found = sources.latest(file, lines)
    else:
        swarm, others = sources.find(file, ident)
        _note_others(others)
        found = [swarm]
    _note_unverified(file)
    return found


def _note_others(others: Sequence[str]) -> None:
    if others:
        stderr.print(Text(f"also in the swarms with the roots {', '.join(others)}", style="dim"))


def _note_unverified(file: Path) -> None:
    proof = f"nomos audit verify {file} --issuer did:key:…"
    stderr.print(Text(f"from {file}, not verified: {proof}", style="dim"))
