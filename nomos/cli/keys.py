"""`nomos keys`: the issuer keys of the control plane, and their rotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from nomos._times import iso
from nomos.cli.client import Operator, with_operator
from nomos.cli.console import stdout
from nomos.cli.listing import Row, local_time, new_table, print_list
from nomos.cli.options import AsJson

group = typer.Typer(
    help="List and rotate the issuer keys of the control plane.", no_args_is_help=True
)

ADVICE: Final = "The new key is a file in keys/ in the server's data folder. Back it up."
STYLES: Final = {"active": "bold green", "retiring": "yellow", "revoked": "red"}


@group.command("list")
@with_operator
def list_(operator: Operator, *, as_json: AsJson = False) -> None:
    """List current and former issuer keys, oldest first.

    If the output is not a terminal, each key is one line of tab-separated columns: number, state,
    DID, time of creation, and the time until which tokens of a retiring key are accepted.
    """
    _show(operator.get("/v1/keys"), as_json=as_json)


@group.command()
@with_operator
def rotate(
    operator: Operator,
    *,
    revoke_old: Annotated[
        bool,
        typer.Option(
            "--revoke-old", help="Revoke the old key immediately, with every token that it signed."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a new issuer key that signs from now on.

    Tokens signed with the old key stay valid until they expire, at most an hour. With
    --revoke-old they are rejected immediately, and agents must request new ones.
    """
    _show(
        operator.post("/v1/keys/rotate", {"revokeOld": revoke_old}, look="nomos keys list"),
        as_json=as_json,
    )
    if stdout.is_terminal and not as_json:
        stdout.print(Text(ADVICE, style="dim"))


def _show(reply: Mapping[str, Any], *, as_json: bool) -> None:
    now = datetime.fromisoformat(reply["serverTime"])
    print_list(reply["keys"], _columns, lambda keys: _table(keys, now), as_json=as_json)


def _columns(key: Row) -> tuple[str, ...]:
    row = key["row"]
    made = iso(row["at"] / 1000)
    return (str(row["seq"]), key["state"], key["did"], made, key.get("until", ""))


def _table(keys: Sequence[Row], now: datetime) -> Table:
    table = new_table("", "state", "key", "since")
    table.columns[0].justify = "right"
    for key in keys:
        table.add_row(
            str(key["row"]["seq"]),
            Text.assemble((key["state"], STYLES.get(key["state"], "")), _left(key, now)),
            Text(key["did"]),
            local_time(datetime.fromtimestamp(key["row"]["at"] / 1000, UTC)),
        )
    return table


def _left(key: Row, now: datetime) -> str:
    """Return how long tokens of a retiring key are still accepted."""
    if "until" not in key:
        return ""
    left = datetime.fromisoformat(key["until"]) - now
    if left <= timedelta(0):
        return ", tokens expired"
    return f", {left // timedelta(minutes=1) + 1} min left"
