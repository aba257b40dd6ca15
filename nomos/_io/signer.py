"""Clients of the signing binary: `ask` sends a request and returns its answer.

One binary serves all guards of a Python process. It starts on first use, is restarted after its
death, and is never shared across `fork()`: two processes on one pair of pipes would receive each
other's answers. `SignerConnection` holds what survives the binary, which is the keys: a new binary
gets them before any other request. Every operation may be requested twice with the effect of once,
so a request during which the binary died, even if it was answered in part, is sent once more.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from nomos._io.binary_location import find_binary
from nomos._io.process import Message, Process, Waiter
from nomos._io.signer_sandbox import ended_early
from nomos._protocol import (
    MAX_LINE,
    PROTOCOL,
    Answer,
    ForgetKey,
    GenerateKey,
    GenerateKeyAnswer,
    Hello,
    LoadKey,
    LoadKeyAnswer,
    Refused,
    Request,
)
from nomos.errors import ProtocolMismatch, SignerCrashed, SignerError
from nomos.models import Secret

DEADLINE: Final = 10.0
"""Seconds for one answer. Signing takes well under a millisecond, so a slower binary hangs."""

SILENT: Final = 0.9
"""The share of its deadline after which a silent binary is killed. It is below 1 because a guard's
timeout, which covers other steps as well, may be as long as the deadline."""


class SignerConnection:
    """The connection to one binary path: its process, its keys, its number of restarts."""

    def __init__(self, path: Path, *, deadline: float = DEADLINE) -> None:
        self.path = path
        self.deadline = deadline
        self.restarts = 0
        self.silent_since: float | None = None
        self._ids = itertools.count(1)
        self._keys: dict[str, Secret] = {}
        self._users: dict[str, set[int]] = {}
        self._starting = threading.Lock()
        self._process: Process | None = None
        _links.add(self)

    def running(self) -> Process | None:
        """Return the live process, or None if one must be started first."""
        process = self._process
        return process if process is not None and not process.ended else None

    def start(self, end: float | None = None) -> Process:
        """Return the live process, starting one if there is none. Blocks for some milliseconds.

        `end` is the time, by `time.monotonic`, by which it must have answered.
        """
        end = _end(self, None) if end is None else end
        lock = self._start_lock()
        if not lock.acquire(timeout=max(0.0, end - time.monotonic())):
            raise _not_started(self)
        try:
            process = self.running()
            if process is not None:
                return process
            if self._process is not None:
                self.restarts += 1
            process = Process(self.path)
            self._greet(process, end)
            for seed in list(self._keys.values()):
                process.submit(*self.line(LoadKey(seed=seed.reveal())), lambda _: None)
            self._process = process
            return process
        finally:
            lock.release()

    def _start_lock(self) -> threading.Lock:
        """Return the lock of `start`, of the class that locks have now.

        gevent replaces that class, in a forked worker too. Greenlets that wait for a lock of the
        old class would block their thread, and the holder of the lock with it.
        """
        fresh = threading.Lock()
        if type(self._starting) is not type(fresh):
            self._starting = fresh
        return self._starting

    def line(self, request: Request) -> tuple[int, bytes]:
        """Return the request as a line, with an id that was never used before."""
        ident = next(self._ids)
        line = request.model_copy(update={"id": ident}).model_dump_json().encode() + b"\n"
        if len(line) > MAX_LINE:
            raise SignerError(
                f"the request has {len(line)} bytes; the signing binary accepts {MAX_LINE}",
                code="too_large",
            )
        return ident, line

    def finish(self, request: Request, lines: Sequence[Message]) -> Answer | Refused:
        """Parse the answer to `request`, and keep the keys that a later binary will need."""
        message = whole(lines)
        if message.get("ok") is not True:
            return Refused.model_validate(message)
        answer = request.answer.model_validate(message)
        match request, answer:
            case LoadKey(), LoadKeyAnswer():
                self._keep(answer.key, request.seed)
            case GenerateKey(), GenerateKeyAnswer():
                self._keep(answer.key, answer.seed)
            case ForgetKey(), _:
                self.drop(request.key)
        return answer

    def _keep(self, key: str, seed: str) -> None:
        self.drop(key)
        self._keys[key] = Secret(seed)

    def drop(self, key: str) -> None:
        """Wipe a key, so that no later binary gets it."""
        seed = self._keys.pop(key, None)
        if seed is not None:
            seed.wipe()

    def holds(self, key: str) -> bool:
        """Whether the key is loaded."""
        return key in self._keys

    def reload(self, process: Process, key: str) -> None:
        """Load a key into the binary again."""
        process.submit(*self.line(LoadKey(seed=self._keys[key].reveal())), lambda _: None)

    def retain(self, key: str, user: object) -> None:
        """Register `user` as a user of `key`: the key stays loaded when another user leaves."""
        self._users.setdefault(key, set()).add(id(user))

    def release(self, key: str, user: object) -> bool:
        """Unregister `user`; return True if `key` has no other user."""
        users = self._users.get(key, set())
        users.discard(id(user))
        return not users

    def close(self) -> None:
        with self._starting:
            if self._process is not None:
                self._process.close()
                self._process = None

    def wipe(self) -> None:
        """Wipe all keys; a binary that is started later has none of them."""
        for key in list(self._keys):
            self.drop(key)

    def after_fork(self) -> None:
        """In a forked child: drop the parent's process, keep the keys."""
        if self._process is not None:
            self._process.abandon()
            self._process = None
        self._starting = threading.Lock()

    def _greet(self, process: Process, end: float) -> None:
        waiter, began = Waiter(), time.monotonic()
        if not process.exchange(*self.line(Hello()), waiter, max(0.0, end - began)):
            process.kill()
            spent = round(time.monotonic() - began, 1)
            raise SignerCrashed(f"{self.path} did not answer within {spent:g} s of starting")
        process.started()
        if not waiter.lines:
            raise ended_early(self.path, process.exit_status)
        message = whole(waiter.lines)
        if message.get("ok") is not True or message.get("speaks") != PROTOCOL:
            process.kill()
            raise ProtocolMismatch(_mismatch(self.path, message))


def whole(lines: Sequence[Message]) -> Message:
    """Return an answer's last line with all children; if it is a refusal, they are discarded."""
    last = lines[-1]
    if len(lines) == 1 or last.get("ok") is not True:
        return last
    return {**last, "children": [child for line in lines for child in line["children"]]}


def _mismatch(path: Path, message: Message) -> str:
    theirs = message.get("speaks", "another one")
    return (
        f"{path} speaks protocol {theirs}, this package speaks {PROTOCOL}: "
        "their versions differ. Reinstall nomos, or unset NOMOS_UCAN_BIN."
    )


class TaskWaiter(Waiter):
    """A task waiting for one answer, under asyncio or trio; to be made in the task's own loop."""

    __slots__ = ("_event", "_soon")

    def __init__(self) -> None:
        self.lines = []
        self._event = anyio.Event()
        loop = anyio.lowlevel.current_token().native_token
        # The name of the method in asyncio or trio; both may be called from any thread.
        name = "call_soon_threadsafe" if hasattr(loop, "call_soon_threadsafe") else "run_sync_soon"
        self._soon: Callable[[Callable[[], None]], object] = getattr(loop, name)

    def done(self, message: Message | None) -> None:
        if not self.take(message):
            return
        # A RuntimeError (trio.RunFinishedError is one) means that the waiting loop has ended.
        with contextlib.suppress(RuntimeError):
            self._soon(self._event.set)

    async def arrival(self) -> None:
        await self._event.wait()


class Signer:
    """The binary for threads. `ask` returns refusals; without an answer it raises `SignerError`."""

    def __init__(self, link: SignerConnection) -> None:
        self.link = link

    def ask(self, request: Request, seconds: float | None = None) -> Answer | Refused:
        """Send a request; `seconds` limits all of it, starting the binary included."""
        end = _end(self.link, seconds)
        for last in (False, True):
            answer = self._ask(request, end)
            if answer is not None and not _again(self.link, request, answer, last=last):
                return answer
        raise _died(self.link)

    def _ask(self, request: Request, end: float) -> Answer | Refused | None:
        process, waiter = self.link.start(end), Waiter()
        ident, line = self.link.line(request)
        sent = time.monotonic()
        try:
            in_time = process.exchange(ident, line, waiter, max(0.0, end - sent))
        except SignerCrashed:
            return None
        if not in_time:
            raise _overdue(self.link, process, ident, sent)
        return self.link.finish(request, waiter.lines) if waiter.lines else None


class AsyncSigner:
    """The binary for tasks, under asyncio and trio; it never blocks the loop."""

    def __init__(self, link: SignerConnection) -> None:
        self.link = link

    async def ask(self, request: Request, seconds: float | None = None) -> Answer | Refused:
        """See `Signer.ask`."""
        end = _end(self.link, seconds)
        for last in (False, True):
            answer = await self._ask(request, end)
            if answer is not None and not _again(self.link, request, answer, last=last):
                return answer
        raise _died(self.link)

    async def _ask(self, request: Request, end: float) -> Answer | Refused | None:
        process = self.link.running()
        if process is None:
            process = await _in_thread(self.link, end)
        waiter = TaskWaiter()
        ident, line = self.link.line(request)
        sent = time.monotonic()
        try:
            process.submit(ident, line, waiter.done)
        except SignerCrashed:
            return None
        try:
            with anyio.move_on_after(max(0.0, end - sent)) as scope:
                await waiter.arrival()
        finally:
            process.forget(ident)
        if scope.cancelled_caught:
            raise _overdue(self.link, process, ident, sent)
        return self.link.finish(request, waiter.lines) if waiter.lines else None


async def _in_thread(link: SignerConnection, end: float) -> Process:
    try:
        with anyio.move_on_after(max(0.0, end - time.monotonic())):
            return await anyio.to_thread.run_sync(link.start, end, abandon_on_cancel=True)
        raise _not_started(link)
    except RuntimeError as error:
        raise SignerError(
            f"the signing binary {link.path} could not be started: {error}. "
            "See `ulimit -u` and the container's limits"
        ) from error


def shared(path: Path | None = None) -> SignerConnection:
    """Return this process's connection to the binary at `path`, by default the installed one."""
    where = find_binary() if path is None else path
    with _sharing:
        link = _shared.get(where)
        if link is None:
            link = _shared[where] = SignerConnection(where)
        return link


def _again(
    link: SignerConnection, request: Request, answer: Answer | Refused, *, last: bool
) -> bool:
    """Whether a new binary missed a key that was loaded while it started; if so, load it."""
    key = getattr(request, "key", None)
    if last or not isinstance(answer, Refused) or answer.code != "unknown_key" or key is None:
        return False
    process = link.running()
    if process is None or not link.holds(key):
        return False
    link.reload(process, key)
    return True


def _died(link: SignerConnection) -> SignerCrashed:
    return SignerCrashed(f"the signing binary {link.path} ended twice before it answered")


def _not_started(link: SignerConnection) -> SignerCrashed:
    return SignerCrashed(
        f"the signing binary {link.path} was not ready in time: the machine may be busy; pass a "
        "longer timeout="
    )


def _end(link: SignerConnection, seconds: float | None) -> float:
    """Return the time by which the answer must have arrived."""
    left = link.deadline if seconds is None else min(link.deadline, seconds)
    return time.monotonic() + left


def _overdue(link: SignerConnection, process: Process, ident: int, sent: float) -> SignerCrashed:
    """Give up one request, and kill the binary only if it has stopped answering all requests.

    One caller's short timeout says nothing about the binary: it is killed when it has been silent
    for its own deadline since the first of the consecutive requests that it did not answer.
    """
    process.forget(ident)
    now = time.monotonic()
    spent = f"{round(now - sent, 1):g}"
    if link.silent_since is None or process.heard_at > link.silent_since:
        link.silent_since = sent
    if now - max(link.silent_since, process.heard_at) < SILENT * link.deadline:
        return SignerCrashed(f"the signing binary gave no answer within {spent} s: it is busy")
    link.silent_since = None
    process.kill()
    return SignerCrashed(
        f"the signing binary gave no answer within {spent} s and was ended; "
        "the next request starts a new one"
    )


def _after_fork_in_child() -> None:
    global _sharing
    _sharing = threading.Lock()
    for link in list(_links):
        link.after_fork()


def _at_exit() -> None:
    for link in list(_links):
        link.close()
        link.wipe()


_links: weakref.WeakSet[SignerConnection] = weakref.WeakSet()
_shared: dict[Path, SignerConnection] = {}
_sharing = threading.Lock()
os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
