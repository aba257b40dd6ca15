"""`nomos revoke`: revoke a token, an agent, an app, an approval or an issuer key."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from rich.text import Text

from nomos.cli import remaining_accounts
from nomos.cli.client import Operator, with_operator
from nomos.cli.console import print_json, stdout
from nomos.cli.options import AsJson

WHAT: Final = {
    "cid": "the delegation, and every delegation made from it",
    "agent": "the agent, with every delegation that it holds or made",
    "app": "the app: its API keys and every token that it was granted",
    "envelope": "the approval, and the token granted on it",
    "issuer": "the issuer key, with every token that it signed",
}


@with_operator
def revoke(
    operator: Operator,
    ident: Annotated[
        str, typer.Argument(metavar="ID", help="What to revoke: a cid, a DID, app_… or env_….")
    ],
    *,
    reason: Annotated[str | None, typer.Option(help="Reason, recorded in the audit log.")] = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a token, an agent, an app, an approval or an issuer key. This cannot be undone.

    Every PDP rejects it within five seconds.
    """
    requested = {"id": ident} if reason is None else {"id": ident, "reason": reason}
    done: dict[str, Any] = operator.post(
        "/v1/revocations", requested, about={"id": ident}, look="nomos audit tail", repeat=True
    )
    if as_json:
        print_json(done)
        return
    again = "already revoked" if done["alreadyRevoked"] else "revoked"
    what = WHAT.get(done["kind"], done["kind"])
    stdout.print(
        Text.assemble(
            (again, "bold green"),
            f"  {done['id']}\n",
            (f"  {what}\n  at {done['at']}, row {done['seq']} of the audit log", "dim"),
        )
    )
    if not done["known"]:
        warning = (
            "this id is not in the audit log. Check for a typo: what you meant may still be valid."
        )
        stdout.print(Text.assemble(("warning: ", "bold yellow"), warning))
    remaining_accounts.warn(ident, done)
