"""`nomos audit`: show, export and verify the audit log.

`verify` needs no server: it reads a file, and the signing binary verifies signatures.
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
from nomos.cli.client import Operator, part, with_operator
from nomos.cli.console import print_json, stderr, stdout
from nomos.cli.options import AsJson

group = typer.Typer(help="Show, export and verify the audit log.", no_args_is_help=True)

POLL_SECONDS = 1.0
MAX_ROWS = 500


@group.command()
@with_operator
def tail(
    operator: Operator,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new records until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=MAX_ROWS, help="Number of records.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Print the latest records, and with --follow new ones as they are written."""
    with suppress(KeyboardInterrupt):
        entries = operator.get("/v1/receipts", limit=lines)["receipts"][::-1]
        seen = _show(entries, 0, as_json=as_json)
        while follow:
            time.sleep(POLL_SECONDS)
            reply = operator.get("/v1/receipts", after=seen, limit=MAX_ROWS)
            seen = _show(reply["receipts"], seen, as_json=as_json)
            seen = max([seen, *(row["seq"] for row in reply.get("damaged", ()))])


@group.command()
@with_operator
def export(
    operator: Operator,
    *,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: stdout.")] = None,
) -> None:
    """Export the whole log as a file that `nomos audit verify` reads."""
    from nomos.cli.audit import files

    lines = operator.lines("/v1/audit/export")
    if out is None:
        rows = files.copy(lines, sys.stdout.buffer, lambda _: None)
    else:
        with stderr.status("exporting") as status:
            rows = files.save(lines, out, lambda count: status.update(f"exporting: {count} rows"))
    what = "1 row" if rows == 1 else f"{rows} rows"
    stderr.print(Text(f"{what} exported{f' to {out}' if out else ''}", style="dim"))


@group.command()
def verify(
    file: Annotated[str, typer.Argument(help="Export to verify; - reads stdin.")],
    *,
    issuer: Annotated[str, typer.Option(help="DID of the trusted issuer.")],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint that the export must agree with: a file, or the token itself."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify an export. No server is needed.

    Exit status: 0 the export is complete and genuine, 1 it was changed or is not of this issuer,
    2 it is incomplete or cannot be read.
    """
    from nomos.audit.export import read_lines
    from nomos.audit.verify import verify as verified
    from nomos.cli.audit import files, view
    from nomos.errors import NomosError

    try:
        issuer, pinned = files.checked_did(issuer), files.read_pin(checkpoint)
        with _open_input(file) as readable:
            report = verified(read_lines(readable.readline), issuer, files.check(), pinned=pinned)
    except NomosError as error:
        stderr.print(Text.assemble(("error: ", "bold red"), str(error)))
        raise typer.Exit(2) from None
    if as_json:
        print_json(report.as_json())
    else:
        view.report(report, stdout)
    if not report.ok:
        raise typer.Exit(1 if report.state == "wrong" else 2)


@group.command()
@with_operator
def tree(
    operator: Operator,
    receipt_id: Annotated[
        str | None,
        typer.Argument(help="Receipt of any record in the tree. Default: the latest trees."),
    ] = None,
    *,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=MAX_ROWS, help="Number of latest records.")
    ] = 50,
) -> None:
    """Show which record led to which: question, approval, decision, call, outcome."""
    from nomos.cli.audit import view
    from nomos.errors import NotFound

    if receipt_id is None:
        entries = operator.get("/v1/receipts", limit=lines)["receipts"][::-1]
    else:
        reply = operator.get("/v1/receipts", tree=receipt_id, limit=MAX_ROWS)
        entries = reply["receipts"]
        if not entries:
            raise NotFound(f"there is no receipt {receipt_id} on {operator.url}")
        reply_checks.check_contains(receipt_id, [entry["row"]["id"] for entry in entries])
    view.trees([entry["row"] for entry in entries], stdout, marked=receipt_id)


@group.command()
@with_operator
def checkpoint(operator: Operator, *, as_json: AsJson = False) -> None:
    """Print a checkpoint: a signature over the newest record, to keep in a file.

    Example: nomos audit checkpoint > audit.pin
    """
    reply = operator.get("/v1/audit/checkpoint")
    stdout.print(Text(json.dumps(reply) if as_json else reply["checkpoint"]))
    stderr.print(Text(f"over row {reply['seq']}, signed by {reply['issuer']}", style="dim"))


@group.command()
@with_operator
def receipt(
    operator: Operator,
    receipt_id: Annotated[str, typer.Argument(help="Id of the receipt: evt_…")],
    *,
    issuer: Annotated[
        str | None,
        typer.Option(help="DID of the trusted issuer. Default: signatures are not verified."),
    ] = None,
) -> None:
    """Print one record in full, with its signature, as JSON."""
    from nomos.audit.receipt import check_receipt
    from nomos.cli.audit import files

    reply = operator.get(f"/v1/receipts/{part(receipt_id)}", about={"row.id": receipt_id})
    if issuer is not None:
        check_receipt(reply, files.checked_did(issuer), files.check())
        stderr.print(Text(f"verified: signed by {issuer}", style="green"))
    # ASCII only: text in a record cannot control the terminal.
    stdout.print(Text(json.dumps(reply, indent=2, ensure_ascii=True)))


def _show(entries: list[dict[str, Any]], seen: int, *, as_json: bool) -> int:
    """Print records, and return the row number of the last one."""
    from nomos.cli.audit import view

    for entry in entries:
        stdout.print(Text(json.dumps(entry)) if as_json else view.line(entry["row"]))
        seen = entry["row"]["seq"]
    return seen


@contextmanager
def _open_input(name: str) -> Iterator[BinaryIO]:
    from nomos.errors import ConfigurationError

    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(name).open("rb") as file:
            yield file
    except OSError as failure:
        raise ConfigurationError(f"{name}: {failure.strerror}", setting="FILE") from failure
