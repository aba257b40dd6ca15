"""The format of an audit export: one JSON object per line, each in canonical form.

    {"type":"header","v":1,"tenant","issuer","keys","first":1,"at"}
    {"type":"row","row":{…},"hash"}            the log, from its first row
    {"type":"damaged","seq","hash"}            in place of a row that could not be read
    {"type":"checkpoint","token"}              right after the row it is over
    {"type":"end","rows","last"}               a file without it is incomplete

The last checkpoint is made for the file: it is over the last row, and its nonce is the sha256 of
everything before it. So one signature covers the rows, the header and all other lines, and a file
cannot be composed from parts of other files. It cannot show that there was no later export: for
that, keep a checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nomos.audit.canonical import canonical
from nomos.audit.chain import ChainedRow, Head, sealed
from nomos.audit.check import MAX_CHECKPOINT

FORMAT: Final = 1
MAX_LINE: Final = 1024 * 1024  # bytes of one line, with its newline
_MAX_TEXT: Final = 256


class MalformedLine(ValueError):
    """A line that is not part of an export; the message says why."""


@dataclass(frozen=True)
class Header:
    """The log's tenant and the keys that signed it. Nothing in it is trusted unverified."""

    tenant: str
    issuer: str
    keys: Sequence[Mapping[str, Any]]
    at: str

    def line(self) -> bytes:
        """Return the header as the first line of a file."""
        log = {"tenant": self.tenant, "issuer": self.issuer, "keys": list(self.keys)}
        return _line({"type": "header", "v": FORMAT, "first": 1, "at": self.at, **log})


@dataclass(frozen=True)
class NumberedLine:
    """A row of the file: `hash` is the one written there, `head` has the computed one."""

    row: Mapping[str, Any]
    hash: str
    head: Head

    @property
    def seq(self) -> int:
        return self.head.seq

    @property
    def fits(self) -> bool:
        """Whether the written hash is the row's."""
        return self.hash == self.head.hash

    def follows(self, head: Head) -> bool:
        """Whether the row contains the hash of the row before."""
        return self.row.get("prev_hash") == head.hash


@dataclass(frozen=True)
class Damaged:
    """A row that the server could not read unchanged: its number, and what its hash should be."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Token:
    """A checkpoint, not yet verified."""

    text: str


@dataclass(frozen=True)
class End:
    """The number of rows that were written, and the number of the last."""

    rows: int
    last: int


Line = Header | NumberedLine | Damaged | Token | End


class ExportWriter:
    """Makes the lines of one export, and the hash of the lines made so far."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._head = Head()
        self._rows = 0

    @property
    def digest(self) -> str:
        """The nonce of a checkpoint that is written next."""
        return self._digest.hexdigest()

    def header(self, header: Header) -> bytes:
        return self._made(header.line())

    def row(self, link: ChainedRow) -> bytes:
        """Return the next row; its text is canonical already."""
        self._head, self._rows = link.head, self._rows + 1
        return self._made(f'{{"hash":"{link.hash}","row":{link.text},"type":"row"}}\n'.encode())

    def damaged(self, seq: int, hash_: str) -> bytes:
        """Return the line that replaces the next row if that cannot be read."""
        self._head, self._rows = Head(seq, hash_), self._rows + 1
        return self._made(_line({"type": "damaged", "seq": seq, "hash": hash_}))

    def checkpoint(self, token: str) -> bytes:
        return self._made(_line({"type": "checkpoint", "token": token}))

    def end(self) -> bytes:
        return self._made(_line({"type": "end", "rows": self._rows, "last": self._head.seq}))

    def _made(self, line: bytes) -> bytes:
        self._digest.update(line)
        return line


def read_lines(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield the lines of a file, one at a time; of a line that is too long, its beginning."""
    while line := readline(MAX_LINE + 1):
        yield line


def read(line: bytes) -> Line:
    """Parse one line. Raises `MalformedLine`."""
    if len(line) > MAX_LINE:
        raise MalformedLine(f"the line is longer than {MAX_LINE} bytes")
    try:
        # Duplicate members, or numbers in another form, may be read differently by other parsers.
        value = json.loads(line)
        plain = canonical(value) == line.removesuffix(b"\n")
    except (ValueError, RecursionError):
        raise MalformedLine("the line is not JSON") from None
    if not plain:
        raise MalformedLine("the line is JSON, but not in canonical form")
    if not isinstance(value, dict):
        raise MalformedLine("the line is not an object")
    match value.get("type"):
        case "row":
            return _row(value)
        case "damaged":
            return _damaged(value)
        case "checkpoint":
            return _token(value)
        case "header":
            return _header(value)
        case "end":
            return _end(value)
    raise MalformedLine("the line is neither row nor checkpoint, header nor end")


def _row(value: dict[str, Any]) -> NumberedLine:
    _only(value, "type", "row", "hash")
    row = value["row"]
    if not isinstance(row, dict) or not _is_text(value["hash"]):
        raise MalformedLine("the line has no row with its hash")
    seq = row.get("seq")
    if type(seq) is not int or seq < 1:
        raise MalformedLine("the row has no number")
    return NumberedLine(row, value["hash"], sealed(row, seq).head)


def _damaged(value: dict[str, Any]) -> Damaged:
    _only(value, "type", "seq", "hash")
    if type(value["seq"]) is not int or value["seq"] < 1 or not _is_text(value["hash"]):
        raise MalformedLine("the line names no damaged row")
    return Damaged(value["seq"], value["hash"])


def _token(value: dict[str, Any]) -> Token:
    _only(value, "type", "token")
    token = value["token"]
    if not isinstance(token, str) or len(token) > MAX_CHECKPOINT:
        raise MalformedLine("the line has no checkpoint")
    return Token(token)


def _header(value: dict[str, Any]) -> Header:
    if value.get("v") != FORMAT:
        raise MalformedLine(f"the file is not of format {FORMAT}: a newer nomos may read it")
    _only(value, "type", "v", "tenant", "issuer", "keys", "first", "at")
    tenant, issuer, keys, at = (value[name] for name in ("tenant", "issuer", "keys", "at"))
    if not all(map(_is_text, (tenant, issuer, at))) or not isinstance(keys, list):
        raise MalformedLine("the header does not name the log's tenant, issuer and keys")
    if value["first"] != 1:
        raise MalformedLine("the file does not begin with row 1")
    return Header(tenant, issuer, keys, at)


def _end(value: dict[str, Any]) -> End:
    _only(value, "type", "rows", "last")
    rows, last = value["rows"], value["last"]
    if type(rows) is not int or type(last) is not int:
        raise MalformedLine("the end does not state the number of rows")
    return End(rows, last)


def _only(value: dict[str, Any], *names: str) -> None:
    if value.keys() != set(names):
        raise MalformedLine(f"a {value['type']} must have exactly the members {', '.join(names)}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT


def _line(value: dict[str, Any]) -> bytes:
    return canonical(value) + b"\n"
