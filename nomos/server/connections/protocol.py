"""One connection: uvicorn's protocol with checked requests and deadlines.

uvicorn's protocol receives only requests that `framing` has checked. Heads, bodies, idle
connections and clients that do not read each have a deadline. A client that closes its half of the
connection after its request still gets its reply.
"""

from __future__ import annotations

import asyncio
import http
import json
import logging
import secrets
import select
from typing import Any, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from nomos._core.http_rules.errors import FailureCode, RequestError, error_body
from nomos._core.http_rules.request_id import choose
from nomos.server.connections.framing import MalformedRequest, RequestReader
from nomos.server.connections.table import ConnectionTable, Phase

LINGER_SECONDS: Final = 1.0
MAX_LINGER: Final = 4 * 1024 * 1024
"""How long (in seconds), and for how many bytes, reading continues after a rejection.

Closing a connection while bytes arrive resets it, and the client may never receive the reply.
"""

MAX_AHEAD: Final = 512 * 1024
"""Bytes that a client may send ahead of the reply to its last request."""

CHECK_SECONDS: Final = 5.0  # how often the rate of a body is checked
log = logging.getLogger("nomos.server.connections")


class _Counted:
    """A transport that counts the bytes written to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(H11Protocol):
    """One client's connection to one listener; `table` has the others."""

    def __init__(self, table: ConnectionTable, **uvicorn_arguments: Any) -> None:
        super().__init__(**uvicorn_arguments)
        self.logger = log
        self.peer = ""
        self._table = table
        self._limits = table.limits
        self._reader = RequestReader()
        self._phase: Phase = "head"
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._refused = False
        self._lingered = 0
        self._ended = False

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._counted = _Counted(transport)
        super().connection_made(cast("asyncio.Transport", self._counted))
        self.peer = self.client[0] if self.client else ""
        if not self._table.add(self):
            self._refused = True
            transport.write(_reply(MalformedRequest("too many connections from this address", 503)))
            transport.close()
            return
        self._enter("head")

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.remove(self)
        for timer in (self._timer, self._writing):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._lingered += len(data)
            if self._lingered > MAX_LINGER:
                self.transport.abort()
            return
        if self._phase == "idle":
            self._unset_keepalive_if_required()
            self._enter("head")
        self._reader.push(data)
        self._read()
        if self._reader.complete and len(self._reader) > MAX_AHEAD:
            self.drop()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        if self._refused or not self._reader.complete:
            return None
        self._ended = True
        return not self._answered()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._table.move(self, "unread")
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._table.move(self, self._phase)

    def _read(self) -> None:
        """Pass checked bytes of the current request to uvicorn; begin the next if that is due."""
        try:
            while not self._refused and not self.transport.is_closing():
                if self._reader.complete:
                    if not self._answered():
                        if len(self._reader):
                            self.flow.pause_reading()
                        break
                    self._reader.restart()
                piece = self._reader.next()
                if piece is None:
                    break
                self.conn.receive_data(piece)
                self.handle_events()
                self._follow()
        except MalformedRequest as refusal:
            self._refuse(refusal)

    def _answered(self) -> bool:
        """Return whether the last request has had its reply, and another may begin."""
        return bool(self.conn.their_state is h11.IDLE)

    # Called by uvicorn

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch_writing()
        if self.transport.is_closing() or self._refused:
            return
        self._read()
        if self._answered() and self._reader.complete:
            self._reader.restart()
        if self._ended and self._answered():
            self.transport.close()
            return
        self._follow()

    def send_400_response(self, msg: str) -> None:
        self._refuse(MalformedRequest("the request is not HTTP/1.1"))

    def _unsupported_upgrade_warning(self) -> None:
        """No upgrade is offered: the header of a request for one is ignored."""

    def shutdown(self) -> None:
        if self._refused:
            self.transport.close()
            return
        super().shutdown()

    # Deadlines

    def _follow(self) -> None:
        """Enter the phase that the current request is in."""
        phase: Phase
        if self._reader.complete and not self._answered():
            phase = "served"
        elif self._reader.waits_for_head or self._reader.complete:
            phase = "head" if len(self._reader) else "idle"
        else:
            phase = "body"
        if phase != self._phase:
            self._enter(phase)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._table.move(self, phase)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if phase in ("served", "idle"):
            return  # uvicorn's own timer ends what is idle
        self._began = self.loop.time()
        seconds = self._limits.head if phase == "head" else min(CHECK_SECONDS, self._limits.body)
        self._timer = self.loop.call_later(seconds, self._check_time)

    def _check_time(self) -> None:
        self._timer = None
        spent = self.loop.time() - self._began
        if self._phase == "head":
            if not len(self._reader):
                self.drop()
                return
            what = f"the head of the request did not arrive within {self._limits.head:g} seconds"
            self._refuse(MalformedRequest(what, 408))
        elif spent + 0.01 >= self._limits.body or (
            self._reader.body_bytes < self._limits.rate * spent
        ):
            self._refuse(MalformedRequest("the body of the request arrives too slowly", 408))
        else:
            left = min(CHECK_SECONDS, self._limits.body - spent)
            self._timer = self.loop.call_later(left, self._check_time)

    def _watch_writing(self) -> None:
        if self._writing is None:
            left = self.transport.get_write_buffer_size()
            due = self._counted.written - left + min(left, self._limits.rate * self._limits.write)
            self._writing = self.loop.call_later(self._limits.write, self._check_writing, due)

    def _check_writing(self, due: float) -> None:
        """Close the connection if the client has read fewer bytes than the rate requires by now."""
        self._writing = None
        left = self.transport.get_write_buffer_size()
        if left and self._counted.written - left < due:
            self.transport.abort()
        elif left:
            self._watch_writing()

    # Ending

    def drop(self) -> None:
        """Close at once: to make room for another, or because nothing valid will follow."""
        self._refused = True
        self.transport.abort()

    def has_unread(self) -> bool:
        """Return whether bytes have arrived that were not read yet."""
        connection = self.transport.get_extra_info("socket")
        if connection is None or connection.fileno() < 0:
            return False
        unread = select.poll()
        unread.register(connection.fileno(), select.POLLIN)
        return bool(unread.poll(0))

    def _refuse(self, refusal: MalformedRequest) -> None:
        """Reply to an invalid or late request, and end the connection."""
        if self._refused:
            return
        self._refused = True
        cycle = self.cycle
        under_way = cycle is not None and not cycle.response_complete
        if under_way:
            cycle.disconnected = True
            cycle.message_event.set()
        if self.transport.is_closing() or (under_way and cycle.response_started):
            self.transport.abort()
            return
        self._enter("head")
        self.transport.write(_reply(refusal))
        self.transport.write_eof()
        self.flow.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def _reply(refusal: MalformedRequest) -> bytes:
    codes: dict[int, FailureCode] = {413: "too_large", 503: "unavailable"}
    code = codes.get(refusal.status, "invalid_request")
    error = RequestError(code, refusal.message, status=refusal.status)
    request_id = choose([], secrets.token_hex)
    content = json.dumps(error_body(error, request_id))
    retry = "retry-after: 1\r\n" if refusal.status == 503 else ""
    return (
        f"HTTP/1.1 {refusal.status} {http.HTTPStatus(refusal.status).phrase}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(content)}\r\n"
        "cache-control: no-store\r\n"
        f"{retry}x-request-id: {request_id}\r\n"
        f"connection: close\r\n\r\n{content}"
    ).encode("ascii")
