"""`nomos approvals`: list approval requests of agents, and approve or deny them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import typer
from rich.text import Text

from nomos.cli.approvals import watch as watching
from nomos.cli.approvals.view import card, columns, queue
from nomos.cli.client import ControlUrl, KeyFile, Operator, part, with_operator
from nomos.cli.console import print_json, stdout
from nomos.cli.errors import reports_errors
from nomos.cli.listing import print_list
from nomos.cli.options import AsJson
from nomos.cli.visible_text import shown
from nomos.errors import ConfigurationError

MAX_LISTED: Final = 200

group = typer.Typer(
    help="List approval requests of agents, and approve or deny them.", no_args_is_help=True
)


Queue = Literal["pending", "approved", "denied", "expired", "consumed", "all"]
Ident = Annotated[str, typer.Argument(metavar="ID", help="Id of the approval request: env_…")]
Reason = Annotated[
    str | None, typer.Option(help="Reason, recorded in the audit log and shown to the agent.")
]
Version = Annotated[
    str | None,
    typer.Option(
        help="Version to decide on, as in `show --json`; if the request has changed since, the "
        "command fails. Default: the current version."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Approve without asking for confirmation.")]


@group.command("list")
@with_operator
def list_(
    operator: Operator,
    *,
    state: Annotated[Queue, typer.Option(help="State of the requests to list.")] = "pending",
    limit: Annotated[
        int, typer.Option(min=1, max=MAX_LISTED, help="Maximum number of requests.")
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List approval requests; by default those that are pending.

    If the output is not a terminal, each request is one line of tab-separated columns: id, state,
    expiry, app, command, roles, resource, args (* for any), service, constraints. Resource, args
    and constraints are JSON.
    """
    reply = operator.get("/v1/approvals", state=state, limit=limit)
    views = reply["approvals"]
    now = _now(reply)
    print_list(views, columns, lambda rows: queue(rows, now, stdout.width), as_json=as_json)
    if stdout.is_terminal and not (views or as_json):
        stdout.print(_none_listed(state))


@group.command()
@with_operator
def show(operator: Operator, ident: Ident, *, as_json: AsJson = False) -> None:
    """Show one approval request in full."""
    view = operator.get(f"/v1/approvals/{part(ident)}", about={"id": ident})
    _show(view, as_json=as_json)


@group.command()
@with_operator
def approve(
    operator: Operator,
    ident: Ident,
    *,
    reason: Reason = None,
    version: Version = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Approve a request, for one call exactly as shown.

    The command shows the request and asks for confirmation, unless --yes is given.
    """
    answer = VoteChoice(approve=True, reason=reason, version=version)
    _decide(operator, ident, answer, yes=yes, as_json=as_json)


@group.command()
@with_operator
def deny(
    operator: Operator,
    ident: Ident,
    *,
    reason: Reason = None,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Deny a request. The same request by this agent is denied for 15 minutes."""
    answer = VoteChoice(approve=False, reason=reason, version=version)
    _decide(operator, ident, answer, yes=True, as_json=as_json)


@group.command("open")
@with_operator
def open_(operator: Operator) -> None:
    """Print a one-time sign-in link to the approval pages. Treat it like a password."""
    reply = operator.post("/v1/login-links")
    stdout.print(Text(reply["url"]))
    if stdout.is_terminal:
        left = datetime.fromisoformat(reply["expiresAt"]).astimezone()
        stdout.print(Text(f"The link works once, until {left:%H:%M}.", style="dim"))


@group.command()
@reports_errors
def watch(
    *, as_json: AsJson = False, control_url: ControlUrl = None, key_file: KeyFile = None
) -> None:
    """Show pending requests and update them until Ctrl-C.

    If the output is not a terminal, print a line for each new request and each change of state.
    """
    with Operator.find(control_url, key_file, timeout=watching.TIMEOUT) as operator:
        operator.get("/v1/approvals", limit=1)  # fails here for a wrong key or URL
        try:
            if as_json or not stdout.is_terminal:
                watching.as_lines(operator, as_json=as_json)
            else:
                watching.on_screen(operator, stdout)
        except KeyboardInterrupt:
            return


@dataclass(frozen=True)
class VoteChoice:
    """A vote on one version of an approval request; None is the current version."""

    approve: bool
    reason: str | None
    version: str | None


def _decide(
    operator: Operator, ident: str, answer: VoteChoice, *, yes: bool, as_json: bool
) -> None:
    path = f"/v1/approvals/{part(ident)}"
    if not yes and (as_json or not (sys.stdin.isatty() and sys.stdout.isatty())):
        raise ConfigurationError(
            "approving asks for confirmation, which needs a terminal. Read the request with "
            f"`nomos approvals show {ident}`, then pass --yes to approve without confirmation",
            setting="--yes",
        )
    version = answer.version
    if version is None or not yes:
        view = operator.get(path, about={"id": ident})
        if not yes:
            _confirm(view, answer.reason)
        # The vote is for the version that was confirmed, or for the one that --version names.
        version = version or view["version"]
    body: dict[str, Any] = {"approve": answer.approve, "version": version}
    if answer.reason:
        body["reason"] = answer.reason
    look = f"nomos approvals show {ident}"
    view = operator.post(f"{path}/decide", body, about={"id": ident}, look=look)
    if as_json:
        print_json(view)
    else:
        stdout.print(_outcome(view, approve=answer.approve))


def _confirm(view: dict[str, Any], reason: str | None) -> None:
    if view["state"] != "pending":
        return  # the reply to the vote says who decided, and when
    _show(view, as_json=False)
    stdout.print()
    if reason:
        stdout.print(Text.assemble(("your reason  ", "dim"), shown(reason)))
    if not typer.confirm("Approve exactly this?", default=False):
        stdout.print(Text("not approved; the request is unchanged", style="dim"))
        raise typer.Exit(1)


def _outcome(view: dict[str, Any], *, approve: bool) -> Text:
    what = Text.assemble((view["command"], "bold"), "  ", (view["id"], "dim"))
    if not approve:
        return Text.assemble(("denied  ", "bold red"), what)
    missing = [role for role in view["roles"] if role not in view["approvedRoles"]]
    if view["state"] == "pending":
        also = f"\napprovals still needed: {', '.join(missing)}"
        return Text.assemble(("approved by you  ", "bold yellow"), what, also)
    return Text.assemble(("approved  ", "bold green"), what, "\nthe agent can make the call now")


def _show(view: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(view)
    else:
        stdout.print(card(view, _now(view), stdout.width), soft_wrap=False)


def _none_listed(state: Queue) -> Text:
    named = "pending" if state == "all" else state
    return Text(f"no {named} requests", style="dim")


def _now(reply: dict[str, Any]) -> datetime:
    """Return the server's time, which determines when requests expire."""
    return datetime.fromisoformat(reply["serverTime"])
