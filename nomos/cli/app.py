"""The root of the command line: the command groups, and `dev`, `demo` and `doctor`.

The code behind a command is imported when that command runs.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from nomos.cli.approvals.commands import group as approvals
from nomos.cli.apps import group as apps
from nomos.cli.audit.commands import group as audit
from nomos.cli.console import print_json, stdout
from nomos.cli.errors import reports_errors
from nomos.cli.keygen import keygen
from nomos.cli.keys import group as keys
from nomos.cli.operators import group as operators
from nomos.cli.options import AsJson, ExamplePolicies, HostName, Policies, Providers, Workspace
from nomos.cli.policy.commands import group as policy
from nomos.cli.revoke import revoke
from nomos.cli.services import group as services
from nomos.cli.swarm.commands import group as swarm
from nomos.cli.token.commands import group as token

app = typer.Typer(
    name="nomos",
    help="Nomos: the authorization layer for AI agents. The control plane decides and signs; a PDP "
    "verifies tokens and makes the calls.",
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


def _version(*, requested: bool) -> None:
    if requested:
        stdout.print(f"nomos {metadata.version('nomos')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda value: _version(requested=value),
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Nomos: the authorization layer for AI agents."""


@app.command()
@reports_errors
def dev(
    *,
    policies: ExamplePolicies = None,
    data: Annotated[Path, typer.Option(help="Data folder: keys and database.")] = Path(".nomos"),
    workspace: Workspace = None,
    providers: Providers = None,
    control_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the control plane; 0 picks a free one.")
    ] = 8788,
    pdp_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the PDP; 0 picks a free one.")
    ] = 8787,
    host_name: HostName = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File with a checkpoint. The server starts only if the audit log agrees with it."
        ),
    ] = None,
) -> None:
    """Run a control plane and a PDP on this machine, and print the settings that an agent needs."""
    from nomos.cli import dev as command

    command.run(
        policies=policies,
        data=data,
        workspace=workspace,
        providers=providers,
        control_port=control_port,
        pdp_port=pdp_port,
        host_names=host_name or (),
        checkpoint=checkpoint,
    )


@app.command()
@reports_errors
def demo(
    *,
    policies: ExamplePolicies = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder for the exported audit log. Default: it is deleted at the end."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show Nomos at work: start servers, then use tokens, an approval, a child and the audit log.

    Each step prints evidence; the exit status is 1 if a step fails. Policies given with
    --policies must permit reading notes/, forbid secrets/, and require approval for writing to
    notes/.
    """
    from nomos.cli.demo import run as command

    if not command.run(policies, as_json=as_json, keep=keep):
        raise typer.Exit(1)


@app.command()
@reports_errors
def doctor(*, as_json: AsJson = False) -> None:
    """Check this installation: versions, the signing binary, and one signature.

    The exit status is 1 if a check fails.
    """
    from nomos.cli import doctor as command

    findings = list(command.examine())
    if as_json:
        for finding in findings:
            print_json(vars(finding))
    else:
        command.show(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


app.command()(keygen)
app.command()(revoke)


@app.command()
@reports_errors
def pdp(
    *,
    control_url: Annotated[
        str, typer.Option(help="URL of the control plane whose grants the PDP accepts.")
    ],
    issuer: Annotated[str, typer.Option(help="DID of the trusted issuer.")],
    key_file: Annotated[
        Path,
        typer.Option(help="File (mode 0600) with an API key of any role, for the revocation feed."),
    ],
    policies: Policies,
    data: Annotated[Path, typer.Option(help="Data folder: its key and records.")],
    workspace: Workspace = None,
    providers: Providers = None,
    tenant: Annotated[str, typer.Option(help="Tenant whose grants are accepted.")] = "default",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8789,
    host_name: HostName = None,
) -> None:
    """Run a standalone PDP, which verifies tokens and makes the calls that policy allows.

    It has its own key, policies and records, and follows the control plane's revocations.
    """
    from nomos.cli import pdp as command

    command.run(
        control_url=control_url,
        issuer=issuer,
        key_file=key_file,
        tenant=tenant,
        policies=policies,
        data=data,
        workspace=workspace,
        providers=providers,
        host=host,
        port=port,
        host_names=host_name or (),
    )
