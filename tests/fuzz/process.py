"""A running `nomos-ucan serve` that gets many lines at once, with time limits."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from pathlib import Path

PATIENCE = 30.0
"""Seconds in which a batch of lines has to be answered, on a machine that does other work too."""

CHUNK = 1 << 16


class Silent(Exception):
    """The process died, or did not answer in time."""


class Process:
    """One process. Writing and reading take turns, so that neither pipe is ever in the way."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen(
            [binary, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._read = b""
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)

    def exchange(self, pieces: list[bytes], last: bytes) -> list[bytes]:
        """
        Write the pieces one by one, and read lines until one begins with `last`.

        Raises `Silent` if the process ends or takes longer than `PATIENCE`.
        """
        until = time.monotonic() + PATIENCE
        left = [memoryview(piece) for piece in pieces if piece]
        with selectors.DefaultSelector() as ready:
            ready.register(self._stdout, selectors.EVENT_READ)
            if left:
                ready.register(self._stdin, selectors.EVENT_WRITE)
            while True:
                if (end := self._end(last)) is not None:
                    lines = self._read[:end].split(b"\n")[:-1]
                    self._read = self._read[end:]
                    return lines
                events = ready.select(max(0.0, until - time.monotonic()))
                if not events:
                    raise Silent("no answer in time")
                for key, _ in events:
                    if key.fileobj is self._stdout:
                        self._receive()
                    elif not self._send(left):
                        ready.unregister(self._stdin)

    def _end(self, last: bytes) -> int | None:
        """Where the line that begins with `last` ends, if it is there."""
        start = 0 if self._read.startswith(last) else self._read.find(b"\n" + last) + 1
        if start == 0 and not self._read.startswith(last):
            return None
        end = self._read.find(b"\n", start)
        return None if end == -1 else end + 1

    def _send(self, left: list[memoryview]) -> bool:
        """Write some of what is left; whether more is left then."""
        try:
            written = os.write(self._stdin.fileno(), left[0][:CHUNK])
        except BrokenPipeError:
            raise Silent("it reads no more") from None
        left[0] = left[0][written:]
        if not left[0]:
            left.pop(0)
        return bool(left)

    def _receive(self) -> None:
        got = os.read(self._stdout.fileno(), CHUNK * 16)
        if not got:
            raise Silent("it ended")
        self._read += got

    def memory(self, field: str = "VmRSS") -> int | None:
        """
        Bytes of memory that it has (`VmRSS`) or had at most (`VmHWM`).

        None where the system does not say.
        """
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            return None
        for line in status.read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        return None

    def end(self) -> int:
        """Close its input and return the exit status. Kills it if it does not end."""
        try:
            self._stdin.close()
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._stdout.close()
