"""`nomos services`: the services that can be the audience of grants, besides the built-in PDP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from nomos._identifiers import is_did
from nomos.cli.client import Operator, part, with_operator
from nomos.cli.console import print_json, stderr, stdout
from nomos.cli.listing import Row, new_table, print_list
from nomos.cli.options import AsJson
from nomos.cli.visible_text import shown
from nomos.errors import ConfigurationError

group = typer.Typer(
    help="Register services that can be the audience of grants.", no_args_is_help=True
)

COLUMNS = ("name", "did", "url", "createdAt")


@group.command("list")
@with_operator
def list_(operator: Operator, *, as_json: AsJson = False) -> None:
    """List services.

    If the output is not a terminal, each service is one line of tab-separated columns: name, DID,
    URL, time of registration.
    """
    found = operator.get("/v1/services")["services"]
    print_list(found, _columns, _table, as_json=as_json)
    if not found:
        stderr.print("no services are registered; `nomos services add` registers one")


@group.command()
@with_operator
def add(
    operator: Operator,
    name: Annotated[str, typer.Argument(help="Short lower-case name.")],
    did: Annotated[
        str, typer.Argument(help="DID of the service, as `nomos pdp` or `nomos keygen` prints it.")
    ],
    url: Annotated[str, typer.Argument(help="Base URL.")],
    *,
    pdp: Annotated[
        bool,
        typer.Option(
            "--pdp", help="The service is a PDP (`nomos pdp`), which checks policy on each call."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Register a service. Agents request grants for it by naming its DID as the audience.

    A service that is not a PDP receives closed grants only: such a grant fixes everything that
    policy depends on.
    """
    if not is_did(did):
        raise ConfigurationError(
            "not a DID: pass the did:key:… that `nomos pdp` or `nomos keygen` prints", setting="did"
        )
    fields = {"name": name, "did": did, "url": url, "decides": pdp}
    made = operator.post(
        "/v1/services", fields, about=fields, look="nomos services list", repeat=True
    )
    if as_json:
        print_json(made)
    else:
        stdout.print(Text.assemble(("registered", "bold green"), f"  {name}  {did}"))


@group.command()
@with_operator
def remove(
    operator: Operator,
    name: Annotated[str, typer.Argument(help="Name of the service.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Remove a service: no more grants are issued for it.

    Existing grants stay valid until they expire; `nomos revoke DID` revokes them.
    """
    gone = operator.post(
        f"/v1/services/{part(name)}/remove", about={"name": name}, look="nomos services list"
    )
    if as_json:
        print_json(gone)
    else:
        stdout.print(Text.assemble(("removed", "bold red"), f"  {name}  ", shown(gone["did"])))


def _columns(service: Row) -> tuple[str, ...]:
    return tuple(shown(service[column]).plain for column in COLUMNS)


def _table(found: Sequence[Row]) -> Table:
    table = new_table("name", "DID", "URL", "since")
    for service in found:
        table.add_row(*(shown(service[column]) for column in COLUMNS))
    return table
