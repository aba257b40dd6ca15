"""Refused calls that were counted in the audit log instead of recorded one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nomos.audit.export import NumberedLine

BEGIN: Final = "fold_begin"
FOLD: Final = "fold"


class CountedRefusals:
    """The sum of the counts in the rows that it is given."""

    def __init__(self) -> None:
        self._number = 0
        self._first: int | None = None
        self._last = 0
        self._open = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning for the reader of the log; none if every call has its own row."""
        if self._first is None:
            return ()
        warning = (
            f"{self._number} refused calls were too many at once to have a row each; rows "
            f"{self._first} to {self._last} count them, by agent and reason"
        )
        if self._open:
            warning += (
                ". The last count is not in the log: the PDP ended, or has not written it yet"
            )
        return (warning,)

    def row(self, row: NumberedLine) -> None:
        """Add the next row."""
        act = row.row.get("act")
        if row.row.get("kind") != "call" or act not in (BEGIN, FOLD):
            return
        self._first = row.seq if self._first is None else self._first
        self._last = row.seq
        self._open = act == BEGIN
        self._number += counted(act, row.row.get("detail"))


def counted(act: object, detail: object) -> int:
    """Return how many refused calls a record counts; 0 if it is about a single call."""
    count = detail.get("count") if isinstance(detail, Mapping) else None
    return count if act == FOLD and type(count) is int and count > 0 else 0
