"""What a verification comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nomos.audit.chain import Head

Kind = Literal[
    # Rows
    "damaged",
    "changed",
    "hash_changed",
    "refitted",
    "rewritten",
    "removed",
    "moved",
    "repeated",
    "other_tenant",
    "malformed",
    # Checkpoints
    "forged",
    "unknown_signer",
    "checkpoint_moved",
    "other_log",
    "unsigned",
    # The file as a whole
    "header",
    "unknown_issuer",
    "key_log",
    "not_as_exported",
    "end",
    # Against a pinned checkpoint
    "pin",
    "pin_contradicted",
    "cut",
]
"""How an export is wrong; `docs/audit.md` says what each means."""

State = Literal["ok", "wrong", "incomplete", "unreadable"]

MAX_WARNINGS: Final = 10


@dataclass(frozen=True)
class AuditFinding:
    """The first thing that is wrong: how, where in the file, and with which rows.

    `first` and `last` are the same row when the row is known for certain; they are the ends of
    a range when something within it was rewritten. Both are None for what concerns no row.
    """

    kind: Kind
    message: str
    line: int
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Report:
    """What was found in one export.

    `rows` are in order, up to the finding or the end; those up to `signed` are under the
    issuer's signature, and `pinned` is the row of the pinned checkpoint that they agree with.
    """

    state: State
    message: str
    rows: int = 0
    head: Head = field(default_factory=Head)
    signed: int = 0
    tenant: str | None = None
    signer: str | None = None
    pinned: int | None = None
    finding: AuditFinding | None = None
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.state == "ok"

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        said: dict[str, Any] = {
            "state": self.state,
            "message": self.message,
            "rows": self.rows,
            "last": {"seq": self.head.seq, "hash": self.head.hash},
            "signed": self.signed,
            "tail": "pinned" if self.pinned is not None else "not_proven",
            "warnings": list(self.warnings),
        }
        if self.tenant is not None:
            said |= {"tenant": self.tenant, "signer": self.signer}
        if self.pinned is not None:
            said["pinned"] = self.pinned
        if self.finding is not None:
            said["finding"] = {
                "kind": self.finding.kind,
                "line": self.finding.line,
                "first": self.finding.first,
                "last": self.finding.last,
            }
        return said


class VerificationStopped(Exception):
    """A verification has come to its end; `finding` says what is wrong, if anything is."""

    def __init__(self, state: State, message: str, finding: AuditFinding | None = None) -> None:
        super().__init__(message)
        self.state: State = state
        self.message = message
        self.finding = finding


def wrong(kind: Kind, message: str, line: int, *rows: int) -> VerificationStopped:
    """The end that a finding is: about one row, the rows from one to another, or none."""
    first, last = (rows[0], rows[-1]) if rows else (None, None)
    return VerificationStopped("wrong", message, AuditFinding(kind, message, line, first, last))
