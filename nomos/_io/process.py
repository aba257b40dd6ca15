"""One running `nomos-ucan`: its pipes, and the threads that read and write them.

Neither side may block the other. With blocking writes, the binary could fill its output pipe and
stop reading, and both would wait forever. So our ends are non-blocking: callers write directly
while there is room, and a thread finishes the other writes.

An answer is one line, or several with the same id. The thread that holds `_reading` reads answers
and passes each to its caller by id. A thread that only waits for its own answer acquires the lock
and reads, which saves two thread switches: most of the cost of a signature. Otherwise the I/O
thread acquires it. No caller is left waiting: a thread that releases `_reading` while others wait
wakes the I/O thread, and a caller that arrives while it is held is registered before it is
released.

The end of the binary's output is the only sign of its death that is trusted: an error on writing
may come late or not at all. All waiting callers are then notified.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from nomos._io.pipes import Wake
from nomos._io.signer_sandbox import SignerSandbox, not_started
from nomos.errors import SignerCrashed, SignerError

Message = dict[str, Any]
Done = Callable[["Message | None"], None]
"""Called by the reading thread with each line of the answer, or None if the binary died. The last
line is the one without `more`; no call follows it, or None. Never raises."""

MAX_ANSWER: Final = 8 * 1024 * 1024
MAX_WAITING: Final = 100_000
_CHUNK: Final = 64 * 1024

SPIN: Final = 0.0003 if (os.cpu_count() or 1) > 1 else 0.0
"""Seconds for which a caller polls for its answer before it sleeps. Being woken up on another
processor takes longer than the binary needs to sign; on a single processor, polling would only
slow the binary down."""


class Process:
    """A started binary. `submit` is thread-safe. The object ends with its process."""

    def __init__(self, path: Path, environ: Mapping[str, str] | None = None) -> None:
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._thread_reads = False
        self._pending = bytearray()
        self._waiting: dict[int, Done] = {}
        self._unsent = bytearray()
        self._closing = False
        self._silent = False
        self.heard_at = time.monotonic()
        self._ended = False
        self._surroundings = SignerSandbox()
        environ = os.environ if environ is None else environ
        self._bell = _wake_for(path)
        try:
            self._child, self._to, self._from = self._surroundings.start(path, environ)
        except SignerError:
            self._bell.close()
            raise
        try:
            threading.Thread(target=self._run, name="nomos-signer", daemon=True).start()
        except RuntimeError as error:
            self._end()
            raise SignerError(
                f"the signing binary {path} could not be used: {error}. "
                "See `ulimit -u` and the container's limits"
            ) from error

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended, or can no longer be used."""
        return self._ended or self._silent

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self._child.returncode

    def started(self) -> None:
        """Remove the working directory, which is not needed once the binary has answered."""
        self._surroundings.remove()

    def submit(self, ident: int, line: bytes, done: Done) -> None:
        """Send one line; `done` is called with the answer with this id. Raises `SignerCrashed`."""
        with self._lock:
            self._send(ident, line, done)
            served = self._thread_reads and not self._unsent
        if not served:
            self._wake()

    def exchange(self, ident: int, line: bytes, waiter: Waiter, seconds: float) -> bool:
        """Send one line and wait for its answer; False if none arrived in time."""
        end = time.monotonic() + seconds
        with self._lock:
            self._send(ident, line, waiter.done)
            room = not self._unsent
        if not room:
            self._wake()
        elif self._reading.acquire(blocking=False):
            try:
                self._lead(waiter, end)
            finally:
                self._reading.release()
                if self._waiting:
                    self._wake()
        return waiter.wait(max(0.0, end - time.monotonic()))

    def forget(self, ident: int) -> None:
        """Drop the callback for this answer."""
        with self._lock:
            self._waiting.pop(ident, None)

    def kill(self) -> None:
        """End the binary at once; waiting callers are notified."""
        self._child.kill()

    def close(self) -> None:
        """Let the binary exit, as it does at the end of its input; kill it after a second."""
        with self._lock:
            if self._ended or self._closing:
                return
            self._closing = True
            self._unsent.clear()
            self._to.end()
        self._wake()
        try:
            self._child.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def abandon(self) -> None:
        """In a forked child, close its copies of the pipes, which would keep the binary alive."""
        self._close_all()
        # It is a child of the parent process, so this process cannot wait for it.
        self._child.returncode = 0

    def _send(self, ident: int, line: bytes, done: Done) -> None:
        """Register the caller, and write as much as there is room for. The lock must be held."""
        if self.ended or self._closing:
            raise SignerCrashed("the signing binary has ended")
        if not (self._to.valid() and self._from.valid()):
            self._silent = True
            self._child.kill()
            self._bell.ring()
            raise SignerCrashed("this program has closed the pipes of the signing binary")
        if len(self._waiting) >= MAX_WAITING:
            raise SignerCrashed(
                f"{MAX_WAITING} requests are already waiting for the signing binary"
            )
        self._waiting[ident] = done
        self._unsent += line if self._unsent else line[self._write(line) :]

    def _lead(self, waiter: Waiter, end: float) -> None:
        """Read until `waiter` has its answer; the I/O thread handles everything unusual."""
        poll: select.poll | None = None
        asleep_at = time.monotonic() + SPIN
        while not waiter.arrived and not self._silent:
            now = time.monotonic()
            if now >= asleep_at:
                if poll is None:
                    poll = select.poll()
                    poll.register(self._from.number, select.POLLIN)
                if now >= end or not poll.poll((end - now) * 1000):
                    return
            self._read()

    def _read(self) -> None:
        """Read what is available and deliver it; called by the holder of `_reading`."""
        if not self._from.valid():
            self._silent = True
            return
        try:
            chunk = os.read(self._from.number, _CHUNK)
        except BlockingIOError:
            return
        if not chunk or not self._deliver(chunk):
            self._silent = True
        self.heard_at = time.monotonic()

    def _write(self, data: bytes | bytearray) -> int:
        if self._closing or not self._to.valid():
            return len(data)
        try:
            return self._to.write(data)
        except BlockingIOError:
            return 0
        except OSError:
            # It is dying; the end of its output notifies all callers, so this line counts as sent.
            return len(data)

    def _wake(self) -> None:
        with self._lock:
            if not self._ended:
                self._bell.ring()

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            self._end()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._bell.number, select.POLLIN)
        try:
            while not self._silent:
                self._watch(poll)
                for descriptor, _ in poll.poll():
                    if descriptor == self._bell.number:
                        self._silent = self._silent or not self._bell.drain()
                    elif descriptor == self._from.number:
                        self._read()
                    else:
                        self._flush()
        finally:
            if self._thread_reads:
                self._reading.release()

    def _close_all(self) -> None:
        self._to.close()
        self._from.close()
        self._bell.close()

    def _watch(self, poll: select.poll) -> None:
        """Choose what to poll: the input if bytes are unsent, the output if it is not read."""
        with self._lock:
            if self._unsent:
                poll.register(self._to.number, select.POLLOUT)
            else:
                with contextlib.suppress(KeyError):
                    poll.unregister(self._to.number)
            wanted = bool(self._waiting) or self._closing
            if wanted and not self._thread_reads and self._reading.acquire(blocking=False):
                self._thread_reads = True
                poll.register(self._from.number, select.POLLIN)
            elif not wanted and self._thread_reads:
                self._thread_reads = False
                poll.unregister(self._from.number)
                self._reading.release()

    def _flush(self) -> None:
        with self._lock:
            sent = self._write(self._unsent)
            del self._unsent[:sent]

    def _deliver(self, chunk: bytes) -> bool:
        """Deliver every complete line; False if a line cannot be an answer."""
        self._pending += chunk
        *lines, rest = self._pending.split(b"\n")
        self._pending = rest
        for line in lines:
            try:
                message = json.loads(line)
                ident = message["id"]
            except (ValueError, TypeError, KeyError):
                return False
            with self._lock:
                done = self._waiting.get(ident)
                if is_last(message):
                    self._waiting.pop(ident, None)
            if done is not None:
                done(message)
        return len(self._pending) <= MAX_ANSWER

    def _end(self) -> None:
        self._child.kill()
        self._child.wait()
        # A reader that still polls sees the end of the file now, and releases the lock.
        with self._reading, self._lock:
            self._ended = True
            left = list(self._waiting.values())
            self._waiting.clear()
            self._close_all()
        self.started()
        for done in left:
            done(None)


def _wake_for(path: Path) -> Wake:
    try:
        return Wake()
    except OSError as error:
        raise not_started(path, error) from error


def is_last(line: Message) -> bool:
    """Whether an answer ends with this line."""
    return line.get("more") is not True


class Waiter:
    """A thread waiting for one answer. A bare lock wakes up faster than an `Event`."""

    __slots__ = ("_lock", "arrived", "lines")

    def __init__(self) -> None:
        self.lines: list[Message] = []
        """The complete answer once it has arrived; empty if the binary died before that."""
        self.arrived = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def done(self, message: Message | None) -> None:
        if self.take(message):
            self.arrived = True
            self._lock.release()

    def take(self, message: Message | None) -> bool:
        """Keep a line; return True if it is the last one, or the binary died."""
        if message is None:
            self.lines.clear()
            return True
        self.lines.append(message)
        return is_last(message)

    def wait(self, seconds: float) -> bool:
        return self._lock.acquire(timeout=seconds)
