"""Pipes to a child process, protected from SIGPIPE and from reused descriptor numbers.

A write to a pipe whose reader has exited raises SIGPIPE, which by default ends the process. So data
is written to a socket, with MSG_NOSIGNAL (SO_NOSIGPIPE on macOS).

A program may close descriptors that it did not open, as a daemon does when it starts; their numbers
then name other files. So a descriptor is used, and closed, only while it is still the file that was
opened: the request that loads a key must not be written to another file.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import Final

_SO_NOSIGPIPE: Final = 0x1022  # from macOS's <sys/socket.h>; `socket` does not define it
_FLAGS: Final = getattr(socket, "MSG_NOSIGNAL", 0)


class Descriptor:
    """An open descriptor, and the identity of its file when it was opened."""

    __slots__ = ("_file", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self._file = _identity(number)

    def valid(self) -> bool:
        """Whether the number still names the file that was opened."""
        return self._file is not None and _identity(self.number) == self._file

    def close(self) -> None:
        """Close the file, unless the number names another one now. Idempotent."""
        if self.valid():
            os.close(self.number)
        self._file = None


class WriteEnd:
    """The writing end of a socket pair. It never blocks and never raises SIGPIPE."""

    __slots__ = ("_descriptor", "_socket")

    def __init__(self, ours: socket.socket) -> None:
        ours.setblocking(False)
        if sys.platform == "darwin":
            ours.setsockopt(socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
        self._socket = ours
        self._descriptor = Descriptor(ours.fileno())

    @property
    def number(self) -> int:
        return self._descriptor.number

    def valid(self) -> bool:
        return self._descriptor.valid()

    def write(self, data: bytes | bytearray) -> int:
        """Write as much as fits and return the count; raise OSError without a reader."""
        return self._socket.send(data, _FLAGS)

    def end(self) -> None:
        """Signal the end of the data to the reader, and close."""
        if self.valid():
            # The reader sees the end even if another process has inherited a copy of the socket.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        self.close()

    def close(self) -> None:
        if self.valid():
            self._socket.close()
        else:
            self._socket.detach()


def _identity(number: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Wake:
    """A pipe by which other threads wake the thread that polls `number`."""

    __slots__ = ("_reading", "_writing")

    def __init__(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._reading, self._writing = Descriptor(reading), Descriptor(writing)

    @property
    def number(self) -> int:
        return self._reading.number

    def ring(self) -> None:
        """Wake the polling thread."""
        if self._writing.valid():
            with contextlib.suppress(BlockingIOError):
                os.write(self._writing.number, b"\0")

    def drain(self) -> bool:
        """Read what was written; False if the descriptor now names another file."""
        if not self._reading.valid():
            return False
        with contextlib.suppress(BlockingIOError):
            os.read(self._reading.number, 4096)
        return True

    def close(self) -> None:
        self._reading.close()
        self._writing.close()
