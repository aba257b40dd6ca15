"""`nomos operators`: operators' accounts, managed on the server's machine.

These commands open the data folder and need no API key. `nomos apps` manages accounts over the
API, with an operator's key.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from nomos.cli import remaining_accounts
from nomos.cli.console import print_json, stderr, stdout
from nomos.cli.errors import reports_errors, server_extra
from nomos.cli.listing import Row, print_list
from nomos.cli.options import AsJson
from nomos.cli.visible_text import shown

if TYPE_CHECKING:
    from nomos.server.storage.registered_apps import Registered

group = typer.Typer(
    help="Manage operators on the server's machine, without an API key.", no_args_is_help=True
)

Data = Annotated[Path, typer.Option(help="Data folder of the server.")]
DATA = Path(".nomos")


@group.command("list")
@reports_errors
def list_(*, data: Data = DATA, as_json: AsJson = False) -> None:
    """List operators, and working accounts that disabled operators registered.

    Columns are separated by tabs: id, state, covered roles, operator that registered it, accounts
    that count as the same person, name.
    """
    with server_extra("operators"):
        from nomos.server import operators
    found = asyncio.run(operators.list_operators(data))
    rows = [
        _row(each.registered)
        | {"countsAs": list(each.counts_as), "leftApps": [_app(app) for app in each.left]}
        for each in found
    ]
    print_list(rows, _columns, as_json=as_json)
    if not as_json:
        for row in rows:
            apps = row["leftApps"]
            remaining_accounts.warn(row["id"], {"left": len(apps), "leftApps": apps})


@group.command()
@reports_errors
def confirm(
    ident: Annotated[str, typer.Argument(metavar="ID", help="Id of the operator: app_…")],
    *,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Confirm that an account belongs to another person than the one who registered it."""
    with server_extra("operators"):
        from nomos.server import operators
    after = asyncio.run(operators.confirm_operator(data, ident))
    if as_json:
        print_json(_row(after))
    else:
        name = shown(after.app.name)
        stdout.print(Text.assemble(("confirmed  ", "bold green"), name, f"  {after.app.id}"))


@group.command()
@reports_errors
def create(
    name: Annotated[str, typer.Argument(help="Display name.")],
    *,
    covers: Annotated[
        list[str] | None,
        typer.Option(
            help="Role that the operator may approve for. Repeatable. Default: `*`, every role."
        ),
    ] = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Register an operator and print its API key. The key cannot be shown again.

    Use this when no operator can sign in any more.
    """
    with server_extra("operators"):
        from nomos.server import operators
    made, key = asyncio.run(operators.create_operator(data, name, covers or ("*",)))
    if as_json:
        print_json({**_row(made), "apiKey": key.reveal()})
        return
    stderr.print(Text.assemble(("operator ", "bold"), shown(name), f"  {made.app.id}"))
    stderr.print(Text("this is its API key; it cannot be shown again", style="dim"))
    print(key.reveal())


def _columns(row: Row) -> tuple[str, ...]:
    covers, counts_as = ",".join(row["covers"]), ",".join(row["countsAs"])
    owner = row["owner"] or "-"
    return (row["id"], row["state"], covers, owner, counts_as, shown(row["name"]).plain)


def _app(registered: Registered) -> dict[str, Any]:
    return {"id": registered.app.id, "name": registered.app.name, "role": registered.role}


def _row(registered: Registered) -> dict[str, Any]:
    app = registered.app
    state = "confirmed" if app.confirmed_by is not None else "active"
    return {
        "id": app.id,
        "name": app.name,
        "covers": list(registered.covers),
        "owner": app.owner,
        "state": state if registered.disabled_at is None else "disabled",
        "confirmedBy": app.confirmed_by,
    }
