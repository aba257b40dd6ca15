"""Results of verifying an export: `Report` and `AuditFinding`."""

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
"""What is wrong with an export; `docs/audit.md` describes each."""

State = Literal["ok", "wrong", "incomplete", "unreadable"]

MAX_WARNINGS: Final = 10


@dataclass(frozen=True)
class AuditFinding:
    """The first problem: its kind, its line in the file, and its rows.

    `first` and `last` are the same row if the row is certain; they are the ends of a range if
    something within it was rewritten. Both are None if no row is concerned.
    """

    kind: Kind
    message: str
    line: int
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Report:
    """The result of verifying one export.

    `rows` are in order, up to the finding or the end; those up to `signed` are covered by the
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
        """Return the report as JSON."""
        found: dict[str, Any] = {
            "state": self.state,
            "message": self.message,
            "rows": self.rows,
            "last": {"seq": self.head.seq, "hash": self.head.hash},
            "signed": self.signed,
            "tail": "pinned" if self.pinned is not None else "not_proven",
            "warnings": list(self.warnings),
        }
        if self.tenant is not None:
            found |= {"tenant": self.tenant, "signer": self.signer}
        if self.pinned is not None:
            found["pinned"] = self.pinned
        if self.finding is not None:
            finding = self.finding
            found["finding"] = {
                name: getattr(finding, name) for name in ("kind", "line", "first", "last")
            }
        return found


class VerificationStopped(Exception):
    """The end of a verification; `finding` says what is wrong, None if nothing is."""

    def __init__(self, state: State, message: str, finding: AuditFinding | None = None) -> None:
        super().__init__(message)
        self.state: State = state
        self.message = message
        self.finding = finding


def wrong(kind: Kind, message: str, line: int, *rows: int) -> VerificationStopped:
    """Return the end of a verification with a finding about one row, a range of rows, or none."""
    first, last = (rows[0], rows[-1]) if rows else (None, None)
    return VerificationStopped("wrong", message, AuditFinding(kind, message, line, first, last))
