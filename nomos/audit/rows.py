"""`RowChecker`: verification of the rows and checkpoints of an export, one after the other.

Every row is covered by its own hash, by the next row, which contains that hash, and by the next
checkpoint. If two of them disagree, the third shows which one was changed.
"""

from __future__ import annotations

from typing import Final, NoReturn

from nomos._protocol import Checkpoint, Refused
from nomos.audit.chain import VERSION, Head, Log
from nomos.audit.check import Check
from nomos.audit.counted_refusals import CountedRefusals
from nomos.audit.export import NumberedLine, Token
from nomos.audit.findings import Kind, VerificationStopped, wrong
from nomos.audit.keys import IssuerKeyLog
from nomos.audit.lines import Lines
from nomos.audit.timestamp_checks import ClockChecker

LOG: Final[Log] = "audit"


class RowChecker:
    """Verifies rows and checkpoints in order; `head` is the last row that was verified.

    `signed` is the last row that a trusted key signed, `last` the latest checkpoint by any key of
    the log, with the hash of what came before it in the file. `row` and `checkpoint` raise
    `VerificationStopped` for a problem.
    """

    def __init__(
        self, lines: Lines, check: Check, tenant: str, keys: IssuerKeyLog, pin: Checkpoint | None
    ) -> None:
        self.head = Head()
        self.signed: int | None = None
        self.last: tuple[Checkpoint, str] | None = None
        self.clocks = ClockChecker()
        self.folded = CountedRefusals()
        self._lines = lines
        self._check = check
        self._tenant = tenant
        self._keys = keys
        self._pin = pin
        self._agreed = 0  # the last row that a trusted checkpoint agrees with

    @property
    def expected(self) -> int:
        """The number of the next row."""
        return self.head.seq + 1

    def row(self, row: NumberedLine) -> None:
        """Verify the next row."""
        expected = self.expected
        if not row.fits:
            self._unfit(row)
        if row.row.get("tenant") != self._tenant:
            tenant = f"{row.row.get('tenant')!r:.80}"
            message = f"row {expected} is from the log of another tenant: {tenant}"
            self._wrong("other_tenant", message, expected)
        if row.row.get("v") != VERSION:
            version = f"{row.row.get('v')!r:.20}"
            message = f"row {expected} is of version {version}, and this nomos reads {VERSION}"
            raise VerificationStopped("unreadable", message)
        if row.seq != expected:
            self._out_of_place(row)
        if not row.follows(self.head):
            self._unlinked(row)
        self.clocks.row(row)
        self.folded.row(row)
        self.head = row.head
        self._check_pin()

    def checkpoint(self, token: Token) -> None:
        """Verify a checkpoint, which must be over the last row."""
        said, at = self._said(token), self.head.seq
        if isinstance(said, Refused):
            if said.code == "untrusted_issuer":
                message = f"the checkpoint after row {at} is by an unknown key"
                self._wrong("unknown_signer", message, at)
            self._wrong("forged", f"the checkpoint after row {at} is forged: {said.message}", at)
        if said.log != LOG:
            message = f"the checkpoint after row {at} is of another log: {said.log}"
            self._wrong("other_log", message, at)
        if said.tenant != self._tenant:
            message = f"the checkpoint after row {at} is of another tenant: {said.tenant}"
            self._wrong("other_tenant", message, at)
        if said.seq != at:
            self._misplaced(said)
        if said.head != self.head.hash:
            self._rewritten(said, self._lines.number)
        self.clocks.checkpoint(said)
        self.last = said, self._lines.prefix_sha256
        # Anyone can make a key that names a known one as its successor, so signatures of earlier
        # keys neither prove a row nor show where a change is.
        if said.iss in self._keys.trusted:
            self.signed = self._agreed = at

    def missing(self, until: int, why: str, *, line: int | None = None) -> NoReturn:
        """Raise for the rows from the next one up to `until`, which are missing."""
        first = self.expected
        rows = f"row {first} is" if until == first else f"rows {first} to {until} are"
        self._wrong("removed", f"{rows} missing: {why}", first, until, line=line)

    # How a row is wrong

    def _unfit(self, row: NumberedLine) -> NoReturn:
        """Raise for a row that differs from its hash; the next line shows which one was changed."""
        expected = self.expected
        if self._named_next() == row.head.hash:
            message = f"the hash beside row {expected} was changed; the row itself was not"
            self._wrong("hash_changed", message, expected)
        self._wrong("changed", f"row {expected} was changed: it does not match its hash", expected)

    def _named_next(self) -> str | None:
        """Return the hash that the next line states for the current row."""
        following = self._lines.following()
        if isinstance(following, NumberedLine):
            return str(following.row.get("prev_hash"))
        said = self._said(following) if isinstance(following, Token) else None
        return said.head if isinstance(said, Checkpoint) else None

    def _out_of_place(self, row: NumberedLine) -> NoReturn:
        expected = self.expected
        if row.follows(self.head):
            message = (
                f"row {expected} was changed and its hash recomputed: it is numbered {row.seq}"
            )
            self._wrong("refitted", message, expected)
        if row.seq < expected:
            message = f"row {row.seq} comes a second time, after row {self.head.seq}"
            self._wrong("repeated", message, row.seq)
        self._not_here(row.seq - 1, f"row {row.seq} is in its place")

    def _unlinked(self, row: NumberedLine) -> NoReturn:
        """Raise for a row with another hash of the row before: one of the two was changed."""
        before = self.head.seq
        if before > self._agreed and self._named_next() == row.head.hash:
            message = (
                f"row {before} was changed and its hash recomputed: row {row.seq} names another"
            )
            self._wrong("refitted", message, before)
        message = (
            f"row {row.seq} was changed and its hash recomputed: it does not name the hash of "
            "the row before it"
        )
        self._wrong("refitted", message, row.seq)

    def _not_here(self, until: int, why: str) -> NoReturn:
        """Raise for the next row, which comes later or is missing."""
        expected, at = self.expected, self._lines.number
        if self._lines.find_row(expected) is not None:
            message = f"row {expected} is not in its place but in line {self._lines.number}: {why}"
            self._wrong("moved", message, expected, line=at)
        self.missing(until, why, line=at)

    def _check_pin(self) -> None:
        pin = self._pin
        if pin is not None and pin.seq == self.head.seq and pin.head != self.head.hash:
            message = (
                f"row {pin.seq} is not the one that your pinned checkpoint is over: something "
                f"in rows 1 to {pin.seq} was rewritten after you pinned it"
            )
            self._wrong("pin_contradicted", message, 1, pin.seq)

    # How a checkpoint is

    def _said(self, token: Token) -> Checkpoint | Refused:
        return self._check(token.text, [*self._keys.earlier, *self._keys.trusted])

    def _misplaced(self, said: Checkpoint) -> NoReturn:
        at, following, line = self.head.seq, self._lines.following(), self._lines.number
        if said.seq > at:
            if not isinstance(following, NumberedLine) or following.seq != at + 1:
                self._not_here(said.seq, f"a checkpoint over row {said.seq} comes after row {at}")
            row = self._lines.find_row(said.seq)
            if row is not None and row.head.hash != said.head:
                self._rewritten(said, line)
        message = (
            f"the checkpoint over row {said.seq} is not in its place but after row {at}: it was "
            "moved, or rows were put in or taken out and all after them numbered anew"
        )
        self._wrong("checkpoint_moved", message, at, line=line)

    def _rewritten(self, said: Checkpoint, line: int) -> NoReturn:
        first, last = min(self._agreed + 1, said.seq), said.seq
        if first == last:
            message = f"row {last} was rewritten: it is not the one that its checkpoint is over"
        else:
            message = (
                f"something in rows {first} to {last} was rewritten, and the hashes recomputed: "
                f"the checkpoint over row {last} is over another row {last}"
            )
        self._wrong("rewritten", message, first, last, line=line)

    def _wrong(self, kind: Kind, message: str, *rows: int, line: int | None = None) -> NoReturn:
        raise wrong(kind, message, self._lines.number if line is None else line, *rows)
