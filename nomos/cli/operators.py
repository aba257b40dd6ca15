"""`nomos operators`: accounts of people, managed on the server's own machine.

These commands work on the data folder itself and take no API key, so they are for whoever runs
the server. With an API key, `nomos apps` does what its operator may.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from nomos.cli import remaining_accounts
from nomos.cli.console import AsJson, stderr, stdout
from nomos.cli.errors import reports_errors, server_extra
from nomos.cli.visible_text import shown

if TYPE_CHECKING:
    from nomos.server.storage.app_store import Registered

group = typer.Typer(
    help="On the server's machine: confirm operators, and register one when none is left.",
    no_args_is_help=True,
)

Data = Annotated[Path, typer.Option(help="The server's data folder.")]
DATA = Path(".nomos")


@group.command("list")
@reports_errors
def list_(*, data: Data = DATA, as_json: AsJson = False) -> None:
    """List operators: id, state, roles, who registered it, whom it counts as, name.

    Then, of those that are disabled, which accounts that they made still work.
    """
    with server_extra("operators"):
        from nomos.server import operators
    found = asyncio.run(operators.list_operators(data))
    for each in found:
        behind = [_app(app) for app in each.left]
        row = _row(each.registered) | {"countsAs": list(each.counts_as), "leftApps": behind}
        if as_json:
            print(json.dumps(row))
        else:
            columns = (*(row["id"], row["state"], ",".join(row["covers"])), row["owner"] or "-")
            print("\t".join((*columns, ",".join(row["countsAs"]), shown(row["name"]).plain)))
    if not as_json:
        for each in found:
            apps = [_app(app) for app in each.left]
            remaining_accounts.tell(each.registered.app.id, {"left": len(apps), "leftApps": apps})


@group.command()
@reports_errors
def confirm(
    ident: Annotated[str, typer.Argument(metavar="ID", help="The operator's id: app_…")],
    *,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Confirm that an account is another person's than the operator's who registered it."""
    with server_extra("operators"):
        from nomos.server import operators
    after = asyncio.run(operators.confirm_operator(data, ident))
    if as_json:
        print(json.dumps(_row(after)))
    else:
        name = shown(after.app.name)
        stdout.print(Text.assemble(("confirmed  ", "bold green"), name, f"  {after.app.id}"))


@group.command()
@reports_errors
def create(
    name: Annotated[str, typer.Argument(help="What people will call it.")],
    *,
    covers: Annotated[
        list[str] | None,
        typer.Option(help="A role that it answers for; every one (`*`) by default. Repeatable."),
    ] = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Register an operator, and print its API key, this once: the way back in."""
    with server_extra("operators"):
        from nomos.server import operators
    made, key = asyncio.run(operators.create_operator(data, name, covers or ("*",)))
    if as_json:
        print(json.dumps({**_row(made), "apiKey": key.reveal()}))
        return
    stderr.print(Text.assemble(("operator ", "bold"), shown(name), f"  {made.app.id}"))
    stderr.print(Text("this is its API key; it is not shown again", style="dim"))
    print(key.reveal())


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
