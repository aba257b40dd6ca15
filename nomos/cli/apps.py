"""`nomos apps`: the accounts that may call the control plane, and their API keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from nomos._core import derived_key
from nomos.cli import remaining_accounts
from nomos.cli.client import Operator, new_key, part, with_operator
from nomos.cli.console import print_json, stderr, stdout
from nomos.cli.listing import Row, local_time, new_table, print_list
from nomos.cli.options import AsJson
from nomos.cli.visible_text import shown
from nomos.errors import AuthenticationError, ControlPlaneError

group = typer.Typer(
    help="Register apps, rotate their API keys, disable them.", no_args_is_help=True
)


Role = Literal["agent", "operator", "auditor"]
Ident = Annotated[str, typer.Argument(metavar="ID", help="Id of the app: app_…")]


@group.command("list")
@with_operator
def list_(operator: Operator, *, as_json: AsJson = False) -> None:
    """List apps.

    If the output is not a terminal, each app is one line of tab-separated columns: id, role, name,
    covered roles, time of creation, time at which it was disabled.
    """
    found = operator.get("/v1/apps")["apps"]
    print_list(found, _columns, _table, as_json=as_json)


@group.command()
@with_operator
def create(
    operator: Operator,
    name: Annotated[str, typer.Argument(help="Display name.")],
    *,
    role: Annotated[Role, typer.Option(help="Role of the API key.")] = "agent",
    covers: Annotated[
        list[str] | None,
        typer.Option(
            help="Role that an operator may approve for; `*` is every role. Repeatable. "
            "Default: none."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Register an app and print its API key. The key cannot be shown again."""
    body: dict[str, Any] = {"name": name, "role": role}
    made = operator.post(
        "/v1/apps",
        body | ({"covers": covers} if covers else {}),
        about=body | {"covers": sorted(set(covers or ()))},
        look="nomos apps list",
        repeat=True,
    )
    _print_key(made, as_json=as_json)


@group.command()
@with_operator
def rotate(operator: Operator, ident: Ident, *, as_json: AsJson = False) -> None:
    """Replace an app's API key. The old key stops working immediately."""
    made = _rotated(operator, ident)
    _print_key(made, as_json=as_json)
    if not as_json:
        remaining_accounts.warn(ident, made, when="if another person had the old key: ")


@group.command()
@with_operator
def disable(operator: Operator, ident: Ident, *, as_json: AsJson = False) -> None:
    """Disable an app: its API key is rejected from now on.

    Tokens that it was granted stay valid until they expire; `nomos revoke ID` revokes them.
    """
    app = operator.post(
        f"/v1/apps/{part(ident)}/disable", about={"id": ident}, look="nomos apps list", repeat=True
    )
    if as_json:
        print_json(app)
        return
    stdout.print(Text.assemble(("disabled  ", "bold red"), shown(app["name"]), f"  {app['id']}"))
    advice = (
        f"tokens granted to it stay valid until they expire; nomos revoke {app['id']} revokes them"
    )
    stdout.print(Text(advice, style="dim"))
    remaining_accounts.warn(ident, app)


@group.command()
@with_operator
def confirm(operator: Operator, ident: Ident, *, as_json: AsJson = False) -> None:
    """Confirm that an operator's account belongs to another person than the one who registered it.

    Until then both accounts count as one person in approvals. Only an operator outside of
    the account's line may confirm it: one that did not register the account and was not registered
    by it, directly or not. On the server's machine, `nomos operators confirm` needs no operator.
    """
    app = operator.post(
        f"/v1/apps/{part(ident)}/confirm", about={"id": ident}, look="nomos apps list"
    )
    if as_json:
        print_json(app)
        return
    name = shown(app["name"])
    stdout.print(Text.assemble(("confirmed  ", "bold green"), name, f"  {app['id']}"))


def _rotated(operator: Operator, ident: str) -> dict[str, Any]:
    """Rotate a key. If the reply to rotating the caller's own key is lost, derive the new key."""
    key = new_key()
    try:
        made: dict[str, Any] = operator.post(
            f"/v1/apps/{part(ident)}/rotate",
            about={"id": ident},
            look="nomos audit tail",
            repeat=True,
            key=key,
        )
    except AuthenticationError:
        if ident != operator.app:
            raise
        text = f"nomos_{ident}_{derived_key.derived_secret(key, operator=ident, app=ident)}"
        mine = _found(operator, text, ident)
        if mine is None:
            raise
        return mine | {"apiKey": text}
    return made


def _found(operator: Operator, text: str, ident: str) -> dict[str, Any] | None:
    """Return the app if the control plane accepts this API key, else None."""
    try:
        with operator.with_key(text) as renewed:
            found: list[dict[str, Any]] = renewed.get("/v1/apps")["apps"]
    except ControlPlaneError:
        return None
    return next((app for app in found if app["id"] == ident), None)


def _print_key(made: Mapping[str, Any], *, as_json: bool) -> None:
    """Print only the key to stdout, so that it can be redirected to a file."""
    if as_json:
        print_json(made)
        return
    about = Text.assemble((made["role"], "bold"), " ", shown(made["name"]), f"  {made['id']}")
    stderr.print(about)
    stderr.print(Text("this is its API key; it cannot be shown again", style="dim"))
    print(made["apiKey"])


def _table(found: Sequence[Row]) -> Table:
    table = new_table("app", "name", "role", "covers", "made")
    table.columns[0].no_wrap = True
    for app in found:
        made = Text(local_time(datetime.fromisoformat(app["createdAt"])))
        if "disabledAt" in app:
            made.append("  disabled", style="red")
        cells = (Text(app["id"], style="bold"), shown(app["name"]), Text(app["role"]))
        style = "dim" if "disabledAt" in app else ""
        table.add_row(*cells, shown(", ".join(app["covers"])), made, style=style)
    return table


def _columns(app: Row) -> tuple[str, ...]:
    return (
        *(app["id"], app["role"], shown(app["name"]).plain, ",".join(app["covers"])),
        *(app["createdAt"], app.get("disabledAt", "")),
    )
