"""`Lines`: reads the lines of an export in constant memory, with one line of lookahead."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from nomos.audit.export import Line, MalformedLine, NumberedLine, read


class Lines:
    """A position in a file: the current line, its number, and the hash of what came before."""

    def __init__(self, raw: Iterator[bytes]) -> None:
        self._raw = raw
        self._digest = hashlib.sha256()
        self._line = b""
        self._next = next(raw, b"")
        self.number = 0

    @property
    def at_end(self) -> bool:
        """Whether there is no line after the current one."""
        return not self._next

    @property
    def truncated(self) -> bool:
        """Whether the current line ends where the file does, without a newline."""
        return self.at_end and not self._line.endswith(b"\n")

    @property
    def prefix_sha256(self) -> str:
        """The sha256 of everything before the current line."""
        return self._digest.hexdigest()

    def advance(self) -> Line:
        """Go to the next line and parse it. Raises `MalformedLine`."""
        self._digest.update(self._line)
        self._line, self._next = self._next, next(self._raw, b"")
        self.number += 1
        return read(self._line)

    def following(self) -> Line | None:
        """Return the line after the current one, if it can be parsed, without going to it."""
        return _readable(self._next)

    def find_row(self, seq: int) -> NumberedLine | None:
        """Return the row with a number, if it comes later. It reads up to that row."""
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
