"""The commands, and what happens to an error on its way to a person."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from nomos.errors import ConfigurationError, InvalidPolicy, NomosError

P = ParamSpec("P")
T = TypeVar("T")

app = typer.Typer(
    name="nomos",
    help="Nomos: the authorization layer for AI agents.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
policy = typer.Typer(help="Check Cedar policies.", no_args_is_help=True)
app.add_typer(policy, name="policy")

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

Policies = Annotated[
    Path | None,
    typer.Option(help="A Cedar file, or a folder of *.cedar files.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def told(command: Callable[P, T]) -> Callable[P, T]:
    """Turn our own errors into a sentence and exit status 1; bugs keep their traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except InvalidPolicy as invalid:
            for problem in invalid.problems:
                stderr.print(Text.assemble(("policy ", "bold red"), str(problem)))
        except NomosError as error:
            setting = f" ({error.setting})" if isinstance(error, ConfigurationError) else ""
            stderr.print(Text.assemble(("error: ", "bold red"), str(error), (setting, "dim")))
        raise typer.Exit(1)

    return run


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
@told
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
        ),
        stdout,
    )


@app.command()
@told
def demo(*, policies: Policies = None, as_json: AsJson = False) -> None:
    """Show the whole system at work: real servers, real files, real tokens.

    Policies of your own must permit reading notes/ and forbid secrets/, or a step fails.
    """
    from nomos.cli import demo as command

    if not command.run(policies, stdout, as_json=as_json):
        raise typer.Exit(1)


@app.command()
@told
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


@policy.command("validate")
@told
def policy_validate(
    path: Annotated[Path, typer.Argument(help="A Cedar file, or a folder of *.cedar files.")],
    *,
    providers: Annotated[
        Path | None, typer.Option(help="A folder of provider tables.", show_default=False)
    ] = None,
) -> None:
    """Parse policies and check them against the schema; every problem with file and line."""
    from nomos.cli import policies as command

    command.validate(path, providers, stdout)
