"""`nomos policy`: check, test and explain Cedar policies, and manage versions on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nomos.cli.client import Operator, with_operator
from nomos.cli.errors import reports_errors
from nomos.cli.options import AsJson, Policies, Providers
from nomos.errors import ConfigurationError

group = typer.Typer(
    help="Check, test and explain Cedar policies; manage their versions on a server.",
    no_args_is_help=True,
)

Revoke = Annotated[
    bool,
    typer.Option(
        "--revoke",
        help="Also revoke valid grants for services that the new version would not issue.",
    ),
]
Where = Annotated[
    Path, typer.Argument(help="Cedar file, or folder of *.cedar files; - reads stdin.")
]


@group.command("validate")
@reports_errors
def validate(path: Where, *, providers: Providers = None) -> None:
    """Parse policies and check them against the schema.

    Each problem is printed with its file and line; the exit status is then 1. If the output is not
    a terminal, each policy is one line of tab-separated columns: name, effect, place, role.
    """
    from nomos.cli.policy import local as command

    command.validate(path, providers)


@group.command("test")
@reports_errors
def run_cases(
    file: Annotated[Path, typer.Argument(help="File with test cases, or folder with tests.yaml.")],
    *,
    policies: Annotated[
        Path | None,
        typer.Option(
            help="Cedar file, or folder of *.cedar files. "
            "Default: `policies:` in the file of test cases."
        ),
    ] = None,
    providers: Providers = None,
    as_json: AsJson = False,
) -> None:
    """Run test cases against policies.

    The exit status is 1 if a decision differs from the expected one.
    """
    from nomos.cli.policy import local as command

    if not command.run_cases(file, policies, providers, as_json=as_json):
        raise typer.Exit(1)


@group.command("explain")
@reports_errors
def explain(
    *,
    policies: Policies,
    command: Annotated[
        str, typer.Option(help="Command of the question, such as /github/issue/list.")
    ],
    resource: Annotated[
        str, typer.Option(help="Resource, as a JSON object; `provider` may be omitted.")
    ] = "{}",
    args: Annotated[
        str | None, typer.Option(help="Arguments, as a JSON object. Default: not bound.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="Facts that the agent asserts, as a JSON object.")
    ] = None,
    purpose: Annotated[str | None, typer.Option(help="Purpose that the agent states.")] = None,
    now: Annotated[
        str | None,
        typer.Option(help="Time of the question: 2026-01-05T09:00:00Z.", show_default="now"),
    ] = None,
    agent: Annotated[str | None, typer.Option(help="DID of the agent.")] = None,
    rate: Annotated[
        int, typer.Option(min=0, help="Number of the app's calls in the last minute.")
    ] = 0,
    service: Annotated[
        bool,
        typer.Option("--service", help="Also print whether a grant for a service is possible."),
    ] = False,
    providers: Providers = None,
    as_json: AsJson = False,
) -> None:
    """Show which policies determine a decision, and what would change it."""
    from nomos.cli.policy import explain as explain_command

    question = explain_command.question(
        command=command,
        resource=resource,
        args=args,
        context=context,
        purpose=purpose,
        now=now,
        agent=agent,
        rate=rate,
    )
    explain_command.explain(policies, providers, question, as_json=as_json, service=service)


@group.command("starters")
@reports_errors
def starters(*, as_json: AsJson = False) -> None:
    """List the built-in starter policies."""
    from nomos.cli.policy import local as command

    command.starters(as_json=as_json)


@group.command("init")
@reports_errors
def init(
    name: Annotated[str, typer.Argument(help="Name of a starter, from `nomos policy starters`.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Folder to create. Default: policies/.")] = None,
) -> None:
    """Copy a starter into a new folder. Existing files are never overwritten."""
    from nomos.cli.policy import local as command

    command.init(name, out or Path("policies"))


@group.command("versions")
@with_operator
def versions(operator: Operator, *, as_json: AsJson = False) -> None:
    """List the versions on a server, newest first, and mark the active one."""
    from nomos.cli.policy import versions as command

    command.versions(operator, as_json=as_json)


@group.command("put")
@with_operator
def put(
    operator: Operator,
    path: Where,
    *,
    activate: Annotated[
        bool, typer.Option("--activate", help="Activate the version immediately.")
    ] = False,
    revoke: Revoke = False,
    as_json: AsJson = False,
) -> None:
    """Upload policies to a server as a new version, if they are valid there."""
    from nomos.cli.policy import versions as command

    if revoke and not activate:
        raise ConfigurationError("--revoke needs --activate", setting="revoke")
    command.put(path, operator, activate=activate, revoke=revoke, as_json=as_json)


@group.command("activate")
@with_operator
def activate(
    operator: Operator,
    version: Annotated[
        int, typer.Argument(min=1, help="Number of the version, from `nomos policy versions`.")
    ],
    *,
    revoke: Revoke = False,
    as_json: AsJson = False,
) -> None:
    """Activate a version. It takes effect at the next question."""
    from nomos.cli.policy import versions as command

    command.change(version, operator, revoke=revoke, as_json=as_json)


@group.command("rollback")
@with_operator
def rollback(operator: Operator, *, revoke: Revoke = False, as_json: AsJson = False) -> None:
    """Activate the version that was active before. A second rollback undoes the first."""
    from nomos.cli.policy import versions as command

    command.change(None, operator, revoke=revoke, as_json=as_json)
