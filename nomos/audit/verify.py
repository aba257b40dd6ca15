"""Verification of an export: whether it has all rows of the log, in order and unchanged.

The reader supplies one thing that cannot come from the file: a DID of the issuer. With a pinned
checkpoint from an earlier day, verification also detects that the end was cut off, or that
everything was rewritten with the issuer's key.

The rows are read once, in order, in constant memory. The first problem ends the verification, and
its row is named if the evidence permits. If every later hash was recomputed, the next checkpoint
contradicts them, and all rows since the last one that agreed are named. Rows may have members of
a newer server, which their hash covers as well; rows of another version are not verified.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from nomos._protocol import Checkpoint
from nomos.audit.check import MAX_CHECKPOINT, Check
from nomos.audit.export import Damaged, End, Header, MalformedLine, NumberedLine, Token
from nomos.audit.findings import Report, VerificationStopped, wrong
from nomos.audit.keys import BrokenKeys, IssuerKeyLog, UnknownIssuer, trusted
from nomos.audit.lines import Lines
from nomos.audit.rows import LOG, RowChecker


def verify(raw: Iterator[bytes], issuer: str, check: Check, *, pinned: str | None = None) -> Report:
    """Verify the lines of an export against the DID that the reader trusts.

    `pinned` is the token of a checkpoint that was kept. Problems in the file are reported, not
    raised.
    """
    lines = Lines(raw)
    try:
        header = _header(lines)
        keys = _keys(lines, header, issuer, check)
        pin = None if pinned is None else _pin(lines, header, keys, check, pinned)
    except VerificationStopped as over:
        return Report(over.state, over.message, finding=over.finding)
    rows = RowChecker(lines, check, header.tenant, keys, pin)
    try:
        _body(lines, rows, pin, issuer, keys)
    except VerificationStopped as over:
        return _report(over, header, rows, pin, keys)


def _report(
    over: VerificationStopped,
    header: Header,
    rows: RowChecker,
    pin: Checkpoint | None,
    keys: IssuerKeyLog,
) -> Report:
    signer = rows.last[0].iss if rows.last is not None else None
    return Report(
        state=over.state,
        message=over.message,
        rows=rows.head.seq,
        head=rows.head,
        signed=rows.signed or 0,
        tenant=header.tenant,
        signer=signer if signer in keys.trusted else None,
        pinned=pin.seq if pin is not None and over.state == "ok" else None,
        finding=over.finding,
        warnings=(*rows.clocks.warnings, *rows.folded.warnings),
    )


# Before the rows


def _header(lines: Lines) -> Header:
    if lines.at_end:
        raise VerificationStopped("unreadable", "this is not an export: it is empty")
    try:
        header = lines.advance()
    except MalformedLine as malformed:
        if lines.truncated:
            raise VerificationStopped(
                "incomplete", "this export is cut off in its first line"
            ) from None
        message = f"this is not a readable export: {malformed}"
        raise VerificationStopped("unreadable", message) from None
    if not isinstance(header, Header):
        message = "the header is missing: the file begins with another line"
        raise wrong("header", message, lines.number)
    return header


def _keys(lines: Lines, header: Header, issuer: str, check: Check) -> IssuerKeyLog:
    try:
        keys = trusted(header.keys, header.tenant, issuer, check)
    except UnknownIssuer as unknown:
        raise wrong("unknown_issuer", str(unknown), lines.number) from None
    except BrokenKeys as broken:
        message = f"the header's key log is wrong: {broken}"
        raise wrong("key_log", message, lines.number) from None
    if header.issuer != keys.trusted[-1]:
        message = (
            f"the file names {header.issuer} as its issuer, but the key log does not lead from "
            f"{issuer}, which you trust, to that key"
        )
        raise wrong("unknown_issuer", message, lines.number)
    return keys


def _pin(lines: Lines, header: Header, keys: IssuerKeyLog, check: Check, text: str) -> Checkpoint:
    said = check(text, keys.trusted) if len(text) <= MAX_CHECKPOINT else None
    if not isinstance(said, Checkpoint):
        if said is not None and said.code == "untrusted_issuer":
            earlier = check(text, keys.earlier)
            if isinstance(earlier, Checkpoint):
                raise VerificationStopped(
                    "unreadable",
                    f"the pinned checkpoint cannot be used: {earlier.iss} signed it, a key before "
                    "the DID that you pass. Verify against that key, or keep a new checkpoint",
                )
            message = (
                "the pinned checkpoint is by a key that the file's key log does not lead to: it is "
                "another issuer's, or the file is older than the checkpoint, or was cut off"
            )
            raise wrong("pin", message, lines.number)
        why = said.message if said is not None else "it is too long"
        raise VerificationStopped("unreadable", f"the pinned checkpoint cannot be used: {why}")
    if (said.log, said.tenant) != (LOG, header.tenant):
        message = (
            f"the pinned checkpoint is for the log {said.log} of tenant {said.tenant}, but this "
            f"file is the {LOG} log of {header.tenant}"
        )
        raise wrong("pin", message, lines.number)
    return said


# The rows, up to the end


def _body(
    lines: Lines, rows: RowChecker, pin: Checkpoint | None, issuer: str, keys: IssuerKeyLog
) -> NoReturn:
    while not lines.at_end:
        try:
            line = lines.advance()
        except MalformedLine as malformed:
            if lines.truncated:
                break
            message = f"where row {rows.expected} should be, {malformed}"
            raise wrong("malformed", message, lines.number, rows.expected) from None
        match line:
            case NumberedLine():
                rows.row(line)
            case Damaged():
                message = (
                    f"row {line.seq} could not be read from the server's database: it is damaged "
                    "there. Rows before it are in order; restore the server's data folder from a "
                    "backup that has the row"
                )
                raise wrong("damaged", message, lines.number, line.seq)
            case Token():
                rows.checkpoint(line)
            case End():
                _end(lines, rows, pin, line)
                _signed(lines, rows, issuer, keys.trusted[-1])
                what = f"{_rows(rows.head.seq)} in order, none changed"
                raise VerificationStopped("ok", f"{what}, under the issuer's signature")
            case _:
                message = "there is a second header: two files were joined"
                raise wrong("header", message, lines.number)
    count = rows.head.seq
    raise VerificationStopped(
        "incomplete",
        f"this export is incomplete: it ends in the middle; {_rows(count)} up to there "
        f"{'is' if count == 1 else 'are'} in order. There is no sign of tampering: export again",
    )


def _end(lines: Lines, rows: RowChecker, pin: Checkpoint | None, end: End) -> None:
    last = rows.head.seq
    if not lines.at_end:
        raise wrong("end", "there are lines after the end", lines.number)
    if pin is not None and pin.seq > last:
        message = (
            f"the end is missing: rows {last + 1} to {pin.seq} are not there, and your pinned "
            "checkpoint is over the last of them. They were cut off, or the file is older than "
            "the checkpoint"
        )
        raise wrong("cut", message, lines.number, last + 1, pin.seq)
    if end.last > last:
        rows.missing(end.last, "the end line counts them")
    if (end.rows, end.last) != (last, last):
        message = f"the end line states {end.rows} rows up to {end.last}, but there are {last}"
        raise wrong("end", message, lines.number)


def _signed(lines: Lines, rows: RowChecker, issuer: str, newest: str) -> None:
    """Require a last checkpoint that is over the last row, by the newest key, and for this file.

    A key that was replaced may be compromised by now: it proves the rows that it signed in its
    time, but not where the log ends.
    """
    last = rows.head.seq
    if rows.last is None or rows.signed is None or rows.signed < last:
        since = min((rows.signed or 0) + 1, last)
        message = f"from row {since} to the end no row is signed by {issuer} or a key after it"
        raise wrong("unsigned", message, lines.number, since, last)
    checkpoint, before = rows.last
    if checkpoint.iss != newest:
        message = (
            f"the last checkpoint is by {checkpoint.iss}, which {newest} has replaced: only the "
            "newest key can prove that a file is complete"
        )
        raise wrong("not_as_exported", message, lines.number)
    if checkpoint.nonce != before:
        message = (
            "the rows are in order, but the last checkpoint was not made for this file: its "
            "header or a checkpoint was changed, or rows were cut off its end"
        )
        raise wrong("not_as_exported", message, lines.number)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
