"""`nomos revoke`: take back what was granted."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from nomos.cli import remaining_accounts
from nomos.cli.client import ControlUrl, KeyFile, Operator
from nomos.cli.console import AsJson, stdout
from nomos.cli.errors import reports_errors

WHAT: Final = {
    "cid": "the delegation, with all that was made from it",
    "agent": "the agent, with all that it holds or handed on",
    "app": "the app: its API keys and all that it was granted",
    "envelope": "the approval, with what was granted on it",
    "issuer": "the issuer key, with all that it signed",
}


@reports_errors
def revoke(
    ident: Annotated[str, typer.Argument(metavar="ID", help="A cid, a DID, app_… or env_….")],
    *,
    reason: Annotated[
        str | None, typer.Option(help="Why, for the record.", show_default=False)
    ] = None,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a token, an agent, an app, an approval or an issuer key, for good.

    Every PDP refuses it within five seconds.
    """
    asked = {"id": ident} if reason is None else {"id": ident, "reason": reason}
    with Operator.find(control_url, key_file) as operator:
        done: dict[str, Any] = operator.post(
            "/v1/revocations",
            asked,
            about={"id": ident},
            look="nomos audit tail",
            repeat=True,
        )
    if as_json:
        stdout.print(Text(json.dumps(done)))
        return
    again = "was revoked before" if done["alreadyRevoked"] else "revoked"
    what = WHAT.get(done["kind"], done["kind"])
    stdout.print(
        Text.assemble(
            (again, "bold green"),
            f"  {done['id']}\n",
            (f"  {what}\n  at {done['at']}, number {done['seq']} of the log", "dim"),
        )
    )
    if not done["known"]:
        warning = "nothing on record has this id: is it mistyped? What you meant may still hold."
        stdout.print(Text.assemble(("careful: ", "bold yellow"), warning))
    remaining_accounts.tell(ident, done)
