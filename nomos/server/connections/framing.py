"""Request framing for HTTP/1.1: splits a byte stream into requests. Pure.

Input that two parsers could read differently is rejected (RFC 9112, sections 2.2, 3, 5.1, 5.2, 6
and 7.1): both lengths at once or one of them twice, a folded line, a space before a colon, a bare
LF, a target that is not a path, chunk extensions and trailers, a missing or second Host. Only
requests that passed reach the HTTP library.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from nomos._limits import MAX_HEAD

MAX_FIELDS: Final = 100
MAX_CHUNKED: Final = 8 * 1024 * 1024
"""Bytes of a chunked body with its framing; every route's own limit is lower."""

FREE_CHUNKS: Final = 256
MEAN_CHUNK: Final = 256
"""Beyond the first `FREE_CHUNKS`, chunks must have so many bytes on average."""

_REQUEST: Final = re.compile(rb"([A-Z]{1,20}) (/[\x21-\x7e]*) HTTP/1\.([01])")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_STRAY: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_CHUNK_START: Final = re.compile(rb"[0-9A-Fa-f]{1,8}\r?")

Body = Literal["length", "chunks", "chunk", "chunk end", "last"]


class MalformedRequest(Exception):
    """The bytes are not a valid request; the connection is closed. The message has none of them."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class RequestReader:
    """Takes bytes as they arrive and returns checked ones, one request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._checked = 0
        self._in_body = False
        self.restart()

    def restart(self) -> None:
        """Expect the head of the next request."""
        self.complete = False
        self._in_body = False
        self._body: Body = "length"
        self._left = 0
        self._chunks = self._chunked = self._framed = 0
        self._checked = 0

    @property
    def waits_for_head(self) -> bool:
        """Whether the head of a request is not complete, or has not begun."""
        return not self.complete and not self._in_body

    @property
    def body_bytes(self) -> int:
        """Bytes of the current request's body returned so far, framing included."""
        return self._framed

    def __len__(self) -> int:
        """Return the number of bytes that arrived and were not returned yet."""
        return len(self._buffer)

    def push(self, data: bytes) -> None:
        """Add bytes that arrived."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return more of the current request; None if no more is available now.

        Raises MalformedRequest. Once `complete`, `restart` begins the next request.
        """
        if self.complete:
            return None
        return self._body_piece() if self._in_body else self._head()

    # The head

    def _head(self) -> bytes | None:
        # Empty lines before a request are skipped (RFC 9112, 2.2), a few of them.
        while self._buffer.startswith(b"\r\n") and self._left < 4:
            del self._buffer[:2]
            self._left += 1
        end = self._buffer.find(b"\r\n\r\n", max(0, self._checked - 3))
        size = len(self._buffer) if end < 0 else end
        if size > MAX_HEAD:
            raise MalformedRequest(f"the head of the request is larger than {MAX_HEAD} bytes", 431)
        start = max(0, self._checked - 1)
        if _STRAY.search(self._buffer, start, size + 2 if end >= 0 else size):
            raise MalformedRequest("lines of a request must end in CRLF")
        self._checked = len(self._buffer)
        if end < 0:
            return None
        head = bytes(self._buffer[: end + 4])
        length, chunked = _framing(head[:-4].split(b"\r\n"))
        self._begin_body(length, chunked=chunked)
        del self._buffer[: end + 4]
        return head

    def _begin_body(self, length: int, *, chunked: bool) -> None:
        self._left = length
        self._in_body = True
        self._body = "chunks" if chunked else "length"
        self._finish_if(not chunked and not length)

    def _finish_if(self, done: bool) -> None:  # noqa: FBT001
        if done:
            self.complete = True
            self._in_body = False

    # The body

    def _body_piece(self) -> bytes | None:
        if self._body == "length":
            piece = self._take(min(self._left, len(self._buffer)))
            self._left -= len(piece)
            self._finish_if(self._left == 0)
            return piece or None
        pieces = bytearray()
        while not self.complete and (piece := self._chunk_piece()):
            pieces += piece
        return bytes(pieces) or None

    def _take(self, size: int) -> bytes:
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._framed += size
        if self._body != "length" and self._framed > MAX_CHUNKED:
            raise MalformedRequest(f"the body is larger than {MAX_CHUNKED} bytes", 413)
        return piece

    def _chunk_piece(self) -> bytes:
        """Return the next part of a chunked body: a size line, data, or the end of either."""
        match self._body:
            case "chunks":
                return self._chunk_size()
            case "chunk":
                piece = self._take(min(self._left, len(self._buffer)))
                self._left -= len(piece)
                if not self._left:
                    self._body = "chunk end"
                return piece
            case _:
                return self._line_end()

    def _chunk_size(self) -> bytes:
        found = _CHUNK.match(self._buffer)
        if found is None:
            if self._buffer and not _CHUNK_START.fullmatch(self._buffer):
                raise MalformedRequest(
                    "a chunk must begin with its size in hexadecimal digits and CRLF"
                )
            return b""
        self._left = int(found[1], 16)
        self._chunks += 1
        self._chunked += self._left
        if self._chunks > FREE_CHUNKS + self._chunked // MEAN_CHUNK:
            raise MalformedRequest(
                f"the chunks are smaller than {MEAN_CHUNK} bytes; send larger ones"
            )
        self._body = "chunk" if self._left else "last"
        return self._take(found.end())

    def _line_end(self) -> bytes:
        if len(self._buffer) < 2:
            if self._buffer and self._buffer != b"\r":
                raise MalformedRequest("a chunk does not end in CRLF")
            return b""
        if not self._buffer.startswith(b"\r\n"):
            raise MalformedRequest("a chunk does not end in CRLF, or the body has trailers")
        self._finish_if(self._body == "last")
        self._body = "chunks"
        return self._take(2)


def _framing(lines: list[bytes]) -> tuple[int, bool]:
    """Return the length of the body that a head announces, and whether it comes in chunks."""
    request = _REQUEST.fullmatch(lines[0])
    if request is None or b"#" in request[2]:
        raise MalformedRequest("the request line is not `METHOD /path HTTP/1.1`")
    fields = _fields(lines[1:])
    modern = request[3] == b"1"
    if len(fields.get(b"host", ())) != 1 and (modern or b"host" in fields):
        raise MalformedRequest("a request must have one Host")
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    if len(lengths) + len(codings) > 1:
        raise MalformedRequest(
            "a request may have one Content-Length or one Transfer-Encoding, not both"
        )
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise MalformedRequest("Content-Length must be a number of bytes")
    if codings and (not modern or codings[0].lower() != b"chunked"):
        raise MalformedRequest("the only Transfer-Encoding is chunked, in HTTP/1.1", 501)
    if any(b"websocket" in value.lower() for value in fields.get(b"upgrade", ())):
        raise MalformedRequest("this server has no web sockets")
    return int(lengths[0]) if lengths else 0, bool(codings)


def _fields(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    if len(lines) > MAX_FIELDS:
        raise MalformedRequest(f"a request has at most {MAX_FIELDS} header fields", 431)
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise MalformedRequest("a header field is not `name: value` on one line")
        fields.setdefault(field[1].lower(), []).append(field[2].rstrip(b" \t"))
    return fields
