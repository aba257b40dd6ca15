"""`nomos approvals`: the questions that agents put to people, and answering them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from nomos.cli.approvals import watch as watching
from nomos.cli.approvals.view import card, line, queue
from nomos.cli.client import ControlUrl, KeyFile, Operator, part
from nomos.cli.console import AsJson, stdout
from nomos.cli.errors import reports_errors
from nomos.cli.visible_text import shown
from nomos.errors import ConfigurationError

MAX_LISTED: Final = 200

group = typer.Typer(help="See what agents ask people for, and answer.", no_args_is_help=True)


class ApprovalState(StrEnum):
    """Which questions to list."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CONSUMED = "consumed"
    ALL = "all"


Ident = Annotated[str, typer.Argument(metavar="ID", help="The approval's id: env_…")]
Reason = Annotated[
    str | None,
    typer.Option(help="Why; kept on record and shown to the agent.", show_default=False),
]
Version = Annotated[
    str | None,
    typer.Option(
        help="Decide on this version of it alone (`show --json` has it); by default, the one now.",
        show_default=False,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


@group.command("list")
@reports_errors
def list_(
    *,
    state: Annotated[ApprovalState, typer.Option(help="Which ones.")] = ApprovalState.PENDING,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LISTED, help="How many.")] = 50,
    as_json: AsJson = False,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
) -> None:
    """List questions, those that wait for an answer by default.

    When the output is no terminal: one line each, with columns between tabs: id, state, expiry,
    app, command, roles, resource, args (* for any), service, constraints; some as JSON.
    """
    with Operator.find(control_url, key_file) as operator:
        reply = operator.get("/v1/approvals", state=state.value, limit=limit)
    views = reply["approvals"]
    if as_json or not stdout.is_terminal:
        _print_lines(views, as_json=as_json)
    elif views:
        stdout.print(queue(views, _now(reply), stdout.width), soft_wrap=False)
    else:
        stdout.print(_nothing(state))


@group.command()
@reports_errors
def show(
    ident: Ident,
    *,
    as_json: AsJson = False,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
) -> None:
    """Show everything about one question."""
    with Operator.find(control_url, key_file) as operator:
        view = operator.get(f"/v1/approvals/{part(ident)}", about={"id": ident})
    _show(view, as_json=as_json)


@group.command()
@reports_errors
def approve(
    ident: Ident,
    *,
    reason: Reason = None,
    version: Version = None,
    yes: Yes = False,
    as_json: AsJson = False,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
) -> None:
    """Allow it, once, exactly as it is shown."""
    with Operator.find(control_url, key_file) as operator:
        answer = VoteChoice(approve=True, reason=reason, version=version)
        _decide(operator, ident, answer, yes=yes, as_json=as_json)


@group.command()
@reports_errors
def deny(
    ident: Ident,
    *,
    reason: Reason = None,
    version: Version = None,
    as_json: AsJson = False,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
) -> None:
    """Refuse it; the agent is refused the same for a quarter of an hour."""
    with Operator.find(control_url, key_file) as operator:
        answer = VoteChoice(approve=False, reason=reason, version=version)
        _decide(operator, ident, answer, yes=True, as_json=as_json)


@group.command("open")
@reports_errors
def open_(*, control_url: ControlUrl = None, key_file: KeyFile = None) -> None:
    """Print a link that signs you in to the approval pages, once. Whoever has it first is you."""
    with Operator.find(control_url, key_file) as operator:
        reply = operator.post("/v1/login-links")
    stdout.print(Text(reply["url"]))
    if stdout.is_terminal:
        left = datetime.fromisoformat(reply["expiresAt"]).astimezone()
        stdout.print(Text(f"It works once, until {left:%H:%M}.", style="dim"))


@group.command()
@reports_errors
def watch(
    *, as_json: AsJson = False, control_url: ControlUrl = None, key_file: KeyFile = None
) -> None:
    """Watch the queue until Ctrl-C. When the output is no terminal: a line for each new one."""
    with Operator.find(control_url, key_file, timeout=watching.TIMEOUT) as operator:
        operator.get("/v1/approvals", limit=1)  # what is wrong with key or URL is told at once
        try:
            if as_json or not stdout.is_terminal:
                watching.as_lines(operator, as_json=as_json)
            else:
                watching.on_screen(operator, stdout)
        except KeyboardInterrupt:
            return


@dataclass(frozen=True)
class VoteChoice:
    """Yes or no to one version of a question, None for the one that is read now."""

    approve: bool
    reason: str | None
    version: str | None


def _decide(
    operator: Operator, ident: str, answer: VoteChoice, *, yes: bool, as_json: bool
) -> None:
    path = f"/v1/approvals/{part(ident)}"
    if not yes and (as_json or not (sys.stdin.isatty() and sys.stdout.isatty())):
        raise ConfigurationError(
            "an approval is confirmed at a terminal, and this is none; look at it with "
            f"`nomos approvals show {ident}`, and add --yes to approve without being asked",
            setting="--yes",
        )
    version = answer.version
    if version is None or not yes:
        view = operator.get(path, about={"id": ident})
        if not yes:
            _confirm(view, answer.reason)
        # What was confirmed is what is sent, and with --version nothing else may be confirmed.
        version = version or view["version"]
    body: dict[str, Any] = {"approve": answer.approve, "version": version}
    if answer.reason:
        body["reason"] = answer.reason
    look = f"nomos approvals show {ident}"
    view = operator.post(f"{path}/decide", body, about={"id": ident}, look=look)
    if as_json:
        print(json.dumps(view))
    else:
        stdout.print(_outcome(view, approve=answer.approve))


def _confirm(view: dict[str, Any], reason: str | None) -> None:
    if view["state"] != "pending":
        return  # the server says who decided, and when
    _show(view, as_json=False)
    stdout.print()
    if reason:
        stdout.print(Text.assemble(("your reason  ", "dim"), shown(reason)))
    if not typer.confirm("Approve exactly this?", default=False):
        stdout.print(Text("nothing was decided", style="dim"))
        raise typer.Exit(1)


def _outcome(view: dict[str, Any], *, approve: bool) -> Text:
    what = Text.assemble((view["command"], "bold"), "  ", (view["id"], "dim"))
    if not approve:
        return Text.assemble(("denied  ", "bold red"), what)
    missing = [role for role in view["roles"] if role not in view["approvedRoles"]]
    if view["state"] == "pending":
        also = f"\nit still needs: {', '.join(missing)}"
        return Text.assemble(("approved by you  ", "bold yellow"), what, also)
    return Text.assemble(("approved  ", "bold green"), what, "\nthe agent can go on now")


def _show(view: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(view))
    else:
        stdout.print(card(view, _now(view), stdout.width), soft_wrap=False)


def _print_lines(views: list[dict[str, Any]], *, as_json: bool) -> None:
    for view in views:
        print(json.dumps(view) if as_json else line(view), flush=True)


def _nothing(state: ApprovalState) -> Text:
    waiting = state in (ApprovalState.PENDING, ApprovalState.ALL)
    return Text("nobody asks for anything" if waiting else f"nothing is {state.value}", style="dim")


def _now(reply: dict[str, Any]) -> datetime:
    """The server's time, by which questions expire."""
    return datetime.fromisoformat(reply["serverTime"])
