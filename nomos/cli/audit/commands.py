"""`nomos audit`: see what was recorded, take it away, and prove it somewhere else.

`verify` needs no server: it reads a file, and asks the signing binary about signatures.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.text import Text

from nomos.cli import reply_checks
from nomos.cli.client import ControlUrl, KeyFile, Operator, part
from nomos.cli.console import AsJson, stderr, stdout
from nomos.cli.errors import reports_errors

group = typer.Typer(
    help="See, export and verify the record of what happened.", no_args_is_help=True
)

POLL_SECONDS = 1.0
AT_ONCE = 500


@group.command()
@reports_errors
def tail(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=AT_ONCE)] = 20,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest records, and with -f those to come until you press ^C."""
    with Operator.find(control_url, key_file) as operator, suppress(KeyboardInterrupt):
        entries = operator.get("/v1/receipts", limit=lines)["receipts"][::-1]
        seen = _show(entries, 0, as_json=as_json)
        while follow:
            time.sleep(POLL_SECONDS)
            reply = operator.get("/v1/receipts", after=seen, limit=AT_ONCE)
            seen = _show(reply["receipts"], seen, as_json=as_json)
            seen = max([seen, *(row["seq"] for row in reply.get("damaged", ()))])


@group.command()
@reports_errors
def export(
    *,
    out: Annotated[
        Path | None, typer.Option(help="A file; by default it is printed.", show_default=False)
    ] = None,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
) -> None:
    """Take the whole log away as a file that `nomos audit verify` can prove."""
    from nomos.cli.audit import files

    with Operator.find(control_url, key_file) as operator:
        lines = operator.lines("/v1/audit/export")
        if out is None:
            rows = files.copy(lines, sys.stdout.buffer, lambda _: None)
        else:
            with stderr.status("exporting") as status:
                rows = files.save(
                    lines, out, lambda count: status.update(f"exporting: {count} rows")
                )
    what = "1 row" if rows == 1 else f"{rows} rows"
    stderr.print(Text(f"{what} exported{f' to {out}' if out else ''}", style="dim"))


@group.command()
def verify(
    file: Annotated[str, typer.Argument(help="An export; - reads it from the standard input.")],
    *,
    issuer: Annotated[str, typer.Option(help="The DID that you know the issuer by.")],
    checkpoint: Annotated[
        str | None,
        typer.Option(help="A checkpoint that you kept: the file or the token.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove an export, on any machine: 0 it is whole, 1 it is not, 2 it cannot be read."""
    from nomos.audit.export import read_lines
    from nomos.audit.verify import verify as verified
    from nomos.cli.audit import files, view
    from nomos.errors import NomosError

    try:
        issuer, pinned = files.checked_did(issuer), files.read_pin(checkpoint)
        with _opened(file) as readable:
            report = verified(read_lines(readable.readline), issuer, files.check(), pinned=pinned)
    except NomosError as error:
        stderr.print(Text.assemble(("error: ", "bold red"), str(error)))
        raise typer.Exit(2) from None
    if as_json:
        stdout.print(Text(json.dumps(report.as_json())))
    else:
        view.report(report, stdout)
    if not report.ok:
        raise typer.Exit(1 if report.state == "wrong" else 2)


@group.command()
@reports_errors
def tree(
    receipt_id: Annotated[
        str | None, typer.Argument(help="One of its records; by default, the latest trees.")
    ] = None,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=AT_ONCE)] = 50,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
) -> None:
    """Show what led to what: question, approval, allow, call, outcome."""
    from nomos.cli.audit import view
    from nomos.errors import NotFound

    with Operator.find(control_url, key_file) as operator:
        if receipt_id is None:
            entries = operator.get("/v1/receipts", limit=lines)["receipts"][::-1]
        else:
            reply = operator.get("/v1/receipts", tree=receipt_id, limit=AT_ONCE)
            entries = reply["receipts"]
            if not entries:
                raise NotFound(f"there is no receipt {receipt_id} on {operator.url}")
            reply_checks.holds(receipt_id, [entry["row"]["id"] for entry in entries])
    view.trees([entry["row"] for entry in entries], stdout, marked=receipt_id)


@group.command()
@reports_errors
def checkpoint(
    *, control_url: ControlUrl = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Print a signature over where the log ends now, to keep: `> audit.pin`."""
    with Operator.find(control_url, key_file) as operator:
        reply = operator.get("/v1/audit/checkpoint")
    stdout.print(Text(json.dumps(reply) if as_json else reply["checkpoint"]))
    stderr.print(Text(f"over row {reply['seq']}, signed by {reply['issuer']}", style="dim"))


@group.command()
@reports_errors
def receipt(
    receipt_id: Annotated[str, typer.Argument(help="evt_…")],
    *,
    issuer: Annotated[
        str | None,
        typer.Option(help="Prove it against this DID, which you know.", show_default=False),
    ] = None,
    control_url: ControlUrl = None,
    key_file: KeyFile = None,
) -> None:
    """Show one record in full, with the signature over it, as JSON."""
    from nomos.audit.receipt import check_receipt
    from nomos.cli.audit import files

    with Operator.find(control_url, key_file) as operator:
        reply = operator.get(f"/v1/receipts/{part(receipt_id)}", about={"row.id": receipt_id})
    if issuer is not None:
        check_receipt(reply, files.checked_did(issuer), files.check())
        stderr.print(Text(f"proved: {issuer} signed it", style="green"))
    # In ASCII, so that nothing a record says can steer the terminal.
    stdout.print(Text(json.dumps(reply, indent=2, ensure_ascii=True)))


def _show(entries: list[dict[str, Any]], seen: int, *, as_json: bool) -> int:
    """Print records, and return the number of the last one seen."""
    from nomos.cli.audit import view

    for entry in entries:
        stdout.print(Text(json.dumps(entry)) if as_json else view.line(entry["row"]))
        seen = entry["row"]["seq"]
    return seen


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    from nomos.errors import ConfigurationError

    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(name).open("rb") as file:
            yield file
    except OSError as failure:
        raise ConfigurationError(f"{name}: {failure.strerror}", setting="FILE") from failure
