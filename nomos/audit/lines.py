"""The lines of an export one after the other, with a look at the next one, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from nomos.audit.export import Line, MalformedLine, NumberedLine, read


class Lines:
    """Where the reading of a file is: the line at hand, its number, what came before it."""

    def __init__(self, raw: Iterator[bytes]) -> None:
        self._raw = raw
        self._digest = hashlib.sha256()
        self._line = b""
        self._next = next(raw, b"")
        self.number = 0

    @property
    def at_end(self) -> bool:
        """Whether there is no line after the one at hand."""
        return not self._next

    @property
    def truncated(self) -> bool:
        """Whether the line at hand ends where the file does, without a newline."""
        return self.at_end and not self._line.endswith(b"\n")

    @property
    def prefix_sha256(self) -> str:
        """The sha256 of everything before the line at hand."""
        return self._digest.hexdigest()

    def advance(self) -> Line:
        """Go to the next line and read it. Raises MalformedLine."""
        self._digest.update(self._line)
        self._line, self._next = self._next, next(self._raw, b"")
        self.number += 1
        return read(self._line)

    def following(self) -> Line | None:
        """The line after the one at hand, as far as it can be read; it stays where it is."""
        return _readable(self._next)

    def find_row(self, seq: int) -> NumberedLine | None:
        """The row of a number, if it comes later; reads on to it, so this ends a verification."""
        while not self.at_end:
            self._line, self._next = self._next, next(self._raw, b"")
            self.number += 1
            line = _readable(self._line)
            if isinstance(line, NumberedLine) and line.seq == seq:
                return line
        return None


def _readable(raw: bytes) -> Line | None:
    try:
        return read(raw)
    except MalformedLine:
        return None
