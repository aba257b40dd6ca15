"""The compiled binary as a process that tests talk to, line by line."""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path
from typing import Any

Answer = dict[str, Any]

PATIENCE = 10.0
"""Seconds before a missing answer fails a test; reached only when something is wrong."""


class Loop:
    """A running `nomos-ucan serve`. Reads never wait longer than `PATIENCE`."""

    def __init__(self, binary: Path) -> None:
        self.process = subprocess.Popen(
            [binary, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin = self.process.stdin.fileno()
        self.stdout = self.process.stdout.fileno()
        self._read = b""

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.stdin, data) :]

    def answer(self) -> Answer:
        """Return the next answer."""
        while b"\n" not in self._read:
            ready, _, _ = select.select([self.stdout], [], [], PATIENCE)
            assert ready, "the binary did not answer"
            got = os.read(self.stdout, 1 << 20)
            assert got, "the binary ended"
            self._read += got
        line, self._read = self._read.split(b"\n", 1)
        answer: Answer = json.loads(line)
        return answer

    def ask(self, request: Answer | str | bytes) -> Answer:
        """Send one line and return what comes back."""
        if isinstance(request, dict):
            request = json.dumps({"id": 1, "protocol": 1, **request})
        data = request.encode() if isinstance(request, str) else request
        self.send(data + b"\n")
        return self.answer()

    def end(self) -> int:
        """Close the input and return the exit status."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return status
