"""The commands of `nomos`. What each does is in a file of its own, loaded when it is called."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from nomos.cli.approvals.commands import group as approvals
from nomos.cli.apps import group as apps
from nomos.cli.audit.commands import group as audit
from nomos.cli.console import AsJson, stdout
from nomos.cli.errors import reports_errors
from nomos.cli.keygen import keygen
from nomos.cli.keys import group as keys
from nomos.cli.operators import group as operators
from nomos.cli.pdp import pdp
from nomos.cli.policy.commands import group as policy
from nomos.cli.revoke import revoke
from nomos.cli.services import group as services
from nomos.cli.swarm.commands import group as swarm
from nomos.cli.token.commands import group as token

app = typer.Typer(
    name="nomos",
    help="Nomos: the authorization layer for AI agents.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(policy, name="policy")
app.add_typer(approvals, name="approvals")
app.add_typer(apps, name="apps")
app.add_typer(audit, name="audit")
app.add_typer(swarm, name="swarm")
app.add_typer(keys, name="keys")
app.add_typer(services, name="services")
app.add_typer(operators, name="operators")
app.add_typer(token, name="token")

Policies = Annotated[
    Path | None,
    typer.Option(help="A Cedar file, or a folder of *.cedar files.", show_default=False),
]


def _version(*, wanted: bool) -> None:
    if wanted:
        stdout.print(f"nomos {metadata.version('nomos')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=lambda value: _version(wanted=value), is_eager=True),
    ] = False,
) -> None:
    """Nomos: the authorization layer for AI agents."""


@app.command()
@reports_errors
def dev(
    *,
    policies: Policies = None,
    data: Annotated[Path, typer.Option(help="Where state is kept.")] = Path(".nomos"),
    workspace: Annotated[
        Path | None,
        typer.Option(help="The folder that the filesystem provider serves.", show_default=False),
    ] = None,
    providers: Annotated[
        Path | None, typer.Option(help="A folder of provider tables.", show_default=False)
    ] = None,
    control_port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8788,
    pdp_port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8787,
    host_name: Annotated[
        list[str] | None,
        typer.Option(help="A host that requests may name; repeat it for more.", show_default=False),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="A checkpoint kept elsewhere, which the data must agree with.", show_default=False
        ),
    ] = None,
) -> None:
    """Run a control plane and a PDP on this machine, and print what an agent needs."""
    from nomos.cli import dev as command

    command.run(
        command.Plan(
            policies=policies,
            data=data,
            workspace=workspace,
            providers=providers,
            control_port=control_port,
            pdp_port=pdp_port,
            host_names=tuple(host_name or ()),
            checkpoint=checkpoint,
        ),
        stdout,
    )


@app.command()
@reports_errors
def demo(
    *,
    policies: Policies = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="A folder that keeps the exported audit log.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole system at work: real servers, real files, real tokens, a person's approval.

    Policies of your own must permit reading notes/, forbid secrets/ and ask a person before
    notes/ is written, or a step fails.
    """
    from nomos.cli.demo import run as command

    if not command.run(policies, stdout, as_json=as_json, keep=keep):
        raise typer.Exit(1)


@app.command()
@reports_errors
def doctor(*, as_json: AsJson = False) -> None:
    """Check this installation: versions, the signing binary, one signature made and verified."""
    from nomos.cli import doctor as command

    findings = command.examine()
    if as_json:
        for finding in findings:
            stdout.print(Text(json.dumps(finding.as_json())))
    else:
        command.show(findings, stdout)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


app.command()(keygen)
app.command()(revoke)
app.command()(pdp)
