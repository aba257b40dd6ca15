"""The policies of a Cedar text, split before parsing, with their lines.

Cedar's parser reports what is wrong but not where. So the text is first split into policies: at
each `;` outside of strings and comments. Strings may contain newlines and backslash escapes;
comments run from `//` to the end of their line, and there are no others.

The parser recurses, and a text nested some hundreds deep ends the whole process; a long path after
`has` takes it excessive time. So nesting, length and paths are limited here, before the text is
parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MAX_NESTING: Final = 24
"""Nested brackets in one policy; a stack of half a MiB is enough for 32."""

MAX_CODE: Final = 16 * 1024
"""Characters in one policy without strings and white space; a stack of 8 MiB allows some more."""

MAX_PATH: Final = 16  # segments of a path after `has`: `context has a.b` has two

_PIECE = re.compile(
    r"""//[^\n\r]*                      # a comment; a lone carriage return ends it, too
    | (?P<string> "(?:[^"\\]|\\.)*+"? )
    | (?P<open> [(\[{] )
    | (?P<close> [)\]}] )
    | (?P<end> ; )
    | \s+
    | (?P<other> [^\s"/()\[\]{};]+ | / )
    """,
    re.VERBOSE | re.DOTALL,
)

# A number may be directly before `has`: `1has a` is read as `1 has a`.
_LONG_PATH = re.compile(rf"(?<![A-Za-z_])has\s+\w++(?:\s*+\.\s*+\w++){{{MAX_PATH}}}")

_ID = re.compile(r'@id\s*\(\s*"((?:[^"\\]|\\.)*)"\s*\)')


@dataclass(frozen=True)
class Statement:
    """One policy's text and its line, from 1; `column` is set only if it shares its line."""

    text: str
    line: int
    column: int | None
    ended: bool
    nesting: int
    code: int
    long_path: bool = False

    @property
    def place(self) -> str:
        """The line, with the column if another policy begins on the same line before."""
        return f"{self.line}" if self.column is None else f"{self.line}:{self.column}"

    @property
    def too_complex(self) -> str | None:
        """Why it must not be parsed; None if it may."""
        if self.nesting > MAX_NESTING:
            return f"has brackets nested more than {MAX_NESTING} deep; split the policy"
        if self.code > MAX_CODE:
            return f"is longer than {MAX_CODE} characters besides its strings; split the policy"
        if self.long_path:
            return f"has a path of more than {MAX_PATH} segments after `has`; test a shorter one"
        return None

    @property
    def written_id(self) -> str | None:
        """The text of its `@id`, for a policy that does not parse."""
        found = _ID.search(self.text)
        return found.group(1) if found else None


def split(text: str) -> Iterator[Statement]:
    """Yield each policy of `text` in order, the last one even if its `;` is missing."""
    text = text.removeprefix("\ufeff")  # the byte order mark that some editors write
    counted, line, earlier = 0, 1, 0
    pieces: list[re.Match[str]] = []
    for piece in _PIECE.finditer(text):
        if piece.lastgroup is not None:
            pieces.append(piece)
        if piece.lastgroup == "end" or (pieces and piece.end() == len(text)):
            start = pieces[0].start()
            line += text.count("\n", counted, start)
            column = start - text.rfind("\n", 0, start) if line == earlier else None
            yield _statement(text[start : piece.end()], line, column, pieces)
            counted, earlier, pieces = start, line, []


def _statement(
    text: str, line: int, column: int | None, pieces: Sequence[re.Match[str]]
) -> Statement:
    depth = nesting = 0
    code: list[str] = []
    for piece in pieces:
        # Never below zero: unmatched closing brackets must not hide what opens after them.
        depth = max(0, depth + {"open": 1, "close": -1}.get(piece.lastgroup or "", 0))
        nesting = max(nesting, depth)
        code.append('"' if piece.lastgroup == "string" else piece.group())
    return Statement(
        text,
        line,
        column,
        ended=pieces[-1].lastgroup == "end",
        nesting=nesting,
        code=sum(map(len, code)),
        long_path=_LONG_PATH.search(" ".join(code)) is not None,
    )
