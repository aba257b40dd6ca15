"""The commands of `nomos policy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nomos.cli.client import ControlUrl, KeyFile, Operator
from nomos.cli.console import AsJson, stdout
from nomos.cli.errors import reports_errors
from nomos.errors import ConfigurationError

group = typer.Typer(
    help="Check, test and explain Cedar policies; put versions on a server and go back.",
    no_args_is_help=True,
)

Providers = Annotated[
    Path | None, typer.Option(help="A folder of provider tables.", show_default=False)
]
Revoke = Annotated[
    bool,
    typer.Option("--revoke", help="Revoke live grants for services that it would not give."),
]
Where = Annotated[
    Path,
    typer.Argument(help="A Cedar file, or a folder of *.cedar files; `-`: the standard input."),
]


@group.command("validate")
@reports_errors
def validate(path: Where, *, providers: Providers = None) -> None:
    """Parse policies and check them against the schema; every problem with file and line."""
    from nomos.cli.policy import local as command

    command.validate(path, providers, stdout)


@group.command("test")
@reports_errors
def run_cases(
    file: Annotated[Path, typer.Argument(help="A file of cases, or a folder with tests.yaml.")],
    *,
    policies: Annotated[
        Path | None,
        typer.Option(help="By default what the file names as `policies:`.", show_default=False),
    ] = None,
    providers: Providers = None,
    as_json: AsJson = False,
) -> None:
    """Ask every case, and say where an answer is not as expected. Exits 1 on a surprise."""
    from nomos.cli.policy import local as command

    if not command.run_cases(file, policies, providers, stdout, as_json=as_json):
        raise typer.Exit(1)


@group.command("explain")
@reports_errors
def explain(
    *,
    policies: Annotated[Path, typer.Option(help="A Cedar file, or a folder of *.cedar files.")],
    command: Annotated[str, typer.Option(help="Such as /github/issue/list.")],
    resource: Annotated[str, typer.Option(help="As JSON; `provider` may be left out.")] = "{}",
    args: Annotated[
        str | None, typer.Option(help="As JSON: bound arguments.", show_default=False)
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="As JSON: what the agent says.", show_default=False)
    ] = None,
    purpose: Annotated[str | None, typer.Option(show_default=False)] = None,
    now: Annotated[
        str | None, typer.Option(help="Such as 2026-01-05T09:00:00Z.", show_default="now")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="A DID.", show_default=False)] = None,
    rate: Annotated[int, typer.Option(min=0, help="Calls of the app in the last minute.")] = 0,
    service: Annotated[
        bool, typer.Option("--service", help="Also: could a service be given a grant of it?")
    ] = False,
    providers: Providers = None,
    as_json: AsJson = False,
) -> None:
    """Say which policies determine one answer, and what would change it."""
    from nomos.cli.policy import explain as explaining

    question = explaining.question(
        command=command,
        resource=resource,
        args=args,
        context=context,
        purpose=purpose,
        now=now,
        agent=agent,
        rate=rate,
    )
    explaining.explain(policies, providers, question, stdout, as_json=as_json, service=service)


@group.command("starters")
@reports_errors
def starters(*, as_json: AsJson = False) -> None:
    """List the bundles to start from."""
    from nomos.cli.policy import local as command

    command.starters(stdout, as_json=as_json)


@group.command("init")
@reports_errors
def init(
    name: Annotated[str, typer.Argument(help="One of `nomos policy starters`.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="A new folder; by default policies/.", show_default=False)
    ] = None,
) -> None:
    """Copy a starter into a folder of your own; nothing is overwritten."""
    from nomos.cli.policy import local as command

    command.init(name, out or Path("policies"), stdout)


@group.command("versions")
@reports_errors
def versions(
    *, control_url: ControlUrl = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """List the versions on a server, newest first, and which decides."""
    from nomos.cli.policy import versions as command

    command.versions(control_url, key_file, stdout, as_json=as_json)


@group.command("put")
@reports_errors
def put(
    path: Where,
    *,
    activate: Annotated[bool, typer.Option("--activate", help="Let it decide at once.")] = False,
    revoke: Revoke = False,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Keep policies on a server as a version, if they are valid there."""
    from nomos.cli.policy import versions as command

    if revoke and not activate:
        raise ConfigurationError("--revoke goes with --activate", setting="revoke")
    with Operator.find(control_url, key_file) as operator:
        command.put(path, operator, stdout, activate=activate, revoke=revoke, as_json=as_json)


@group.command("activate")
@reports_errors
def activate(
    version: Annotated[int, typer.Argument(min=1)],
    *,
    revoke: Revoke = False,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a version decide from now on."""
    from nomos.cli.policy import versions as command

    with Operator.find(control_url, key_file) as operator:
        command.change(version, operator, stdout, revoke=revoke, as_json=as_json)


@group.command("rollback")
@reports_errors
def rollback(
    *,
    revoke: Revoke = False,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let the version decide that did before; a second time returns to where it began."""
    from nomos.cli.policy import versions as command

    with Operator.find(control_url, key_file) as operator:
        command.change(None, operator, stdout, revoke=revoke, as_json=as_json)
