"""Warnings about times in a log that contradict each other, because clocks disagree."""

from __future__ import annotations

from typing import Final

from nomos._protocol import Checkpoint
from nomos.audit.export import NumberedLine
from nomos.audit.findings import MAX_WARNINGS

TOLERANCE_SECONDS: Final = 60  # the largest difference that is not reported


class ClockChecker:
    """Compares each time with the one before; a row's `at` is by the clock of its writer."""

    def __init__(self) -> None:
        self._at: int | None = None
        self._seq = 0
        self._found: list[str] = []
        self._more = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        more = (f"and {self._more} more like these",) if self._more else ()
        return (*self._found, *more)

    def row(self, row: NumberedLine) -> None:
        at = row.row.get("at")
        if type(at) is not int:
            return
        if self._at is not None:
            self._compare(at // 1000, f"row {row.seq}", "happened")
        self._at, self._seq = at, row.seq

    def checkpoint(self, said: Checkpoint) -> None:
        if self._at is not None:
            self._compare(said.iat, f"the checkpoint over row {said.seq}", "was signed")

    def _compare(self, seconds: int, what: str, did: str) -> None:
        assert self._at is not None
        behind = self._at // 1000 - seconds
        if behind <= TOLERANCE_SECONDS:
            return
        if len(self._found) == MAX_WARNINGS:
            self._more += 1
            return
        self._found.append(
            f"clocks disagree: {what} says that it {did} {behind} s before row {self._seq}, "
            "which comes earlier"
        )
