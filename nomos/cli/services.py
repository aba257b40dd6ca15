"""`nomos services`: which services beside the control plane's own PDP honour its grants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from nomos._core.signing import is_did
from nomos.cli.client import ControlUrl, KeyFile, Operator, part
from nomos.cli.console import AsJson, stderr, stdout
from nomos.cli.errors import reports_errors
from nomos.cli.visible_text import shown
from nomos.errors import ConfigurationError

group = typer.Typer(help="Register services that grants may be made out to.", no_args_is_help=True)

COLUMNS = ("name", "did", "url", "createdAt")


@group.command("list")
@reports_errors
def list_(
    *, as_json: AsJson = False, control_url: ControlUrl = None, key_file: KeyFile = None
) -> None:
    """List the services. When the output is no terminal: one line each, columns between tabs."""
    with Operator.find(control_url, key_file) as operator:
        found = operator.get("/v1/services")["services"]
    if as_json:
        for service in found:
            print(json.dumps(service))
    elif stdout.is_terminal and found:
        stdout.print(_table(found), soft_wrap=False)
    else:
        for service in found:
            print("\t".join(shown(service[column]).plain for column in COLUMNS))
    if not found:
        stderr.print("no services are registered: `nomos services add` registers one")


@group.command()
@reports_errors
def add(
    name: Annotated[str, typer.Argument(help="A short lower-case name.")],
    did: Annotated[
        str, typer.Argument(help="Its DID, as `nomos pdp` or `nomos keygen` prints it.")
    ],
    url: Annotated[str, typer.Argument(help="Where it is called.")],
    *,
    pdp: Annotated[
        bool,
        typer.Option("--pdp", help="It is a PDP, `nomos pdp`: it decides each call by policy."),
    ] = False,
    as_json: AsJson = False,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
) -> None:
    """Register a service. Agents name its DID as the audience of what they ask for.

    Unless it is a PDP, grants for it leave nothing open that policy looks at.
    """
    if not is_did(did):
        raise ConfigurationError(
            "a service is named by its did:key:…, as `nomos pdp` or `nomos keygen` prints it",
            setting="did",
        )
    asked = {"name": name, "did": did, "url": url, "decides": pdp}
    with Operator.find(control_url, key_file) as operator:
        made = operator.post(
            "/v1/services",
            asked,
            about=asked,
            look="nomos services list",
            repeat=True,
        )
    if as_json:
        print(json.dumps(made))
    else:
        stdout.print(Text.assemble(("registered", "bold green"), f"  {name}  {did}"))


@group.command()
@reports_errors
def remove(
    name: Annotated[str, typer.Argument(help="The service's name.")],
    *,
    as_json: AsJson = False,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
) -> None:
    """Make out no more grants to a service. `nomos revoke` ends those that it has, by its DID."""
    with Operator.find(control_url, key_file) as operator:
        gone = operator.post(
            f"/v1/services/{part(name)}/remove", about={"name": name}, look="nomos services list"
        )
    if as_json:
        print(json.dumps(gone))
    else:
        stdout.print(Text.assemble(("removed", "bold red"), f"  {name}  ", shown(gone["did"])))


def _table(found: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "DID", "URL", "since"):
        table.add_column(heading, overflow="fold")
    for service in found:
        table.add_row(*(shown(service[column]) for column in COLUMNS))
    return table
