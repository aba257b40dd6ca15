"""One process of the tree: does what it may, tries what it may not, and has children of its own.

    python member.py NAME GUARD_KIND CHILDREN FOLDER SIBLING_FILE ENVELOPE

It has its authority from its environment. Everything that it does it first does, then logs, as
lines of JSON in FOLDER/NAME.jsonl; so a process that is killed has logged one act too few at most.
Then it waits until FOLDER/go says which branches go on reading, each second, until they are
refused: a hundred that read all the time would only measure the machine. It ends when its standard
input does, and not before, for its own children end with it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
from anyio.from_thread import start_blocking_portal
from forging import ATTEMPTS, READ, Member

from nomos import AsyncAuthGuard, AuthGuard, Child, read_parent_chain_from_env

EACH: Final = 5
"""Attempts of each process."""

LOOKS_EVERY: Final = 1.0

PATIENCE: Final = 120.0
"""Seconds for one answer: a hundred processes ask at once, and a second try would be on record."""


class Journal:
    """What this process did, on the disk when `note` returns."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", buffering=1)

    def note(self, what: str, **said: Any) -> None:
        self._file.write(json.dumps({"what": what, "at": time.time(), **said}) + "\n")


def main(name: str, guard_kind: str, children: str, *found: str) -> None:
    folder, sibling, envelope = found
    journal = Journal(Path(folder) / f"{name}.jsonl")
    parent = read_parent_chain_from_env(os.environ)
    with ExitStack() as stack:
        guard, call = _guard(stack, guard_kind)
        member = Member(
            did=call(guard.did),
            chain=tuple(parent.chain),
            path=f"t/{name.replace('.', '/')}",
            pdp_url=str(guard.pdp_url),
            sibling=tuple(json.loads(Path(sibling).read_text())),
            envelope=envelope,
            call=call,
            guard=guard,
        )
        journal.note("start", pid=os.getpid(), agent=member.did, name=name, guard_kind=guard_kind)
        journal.note("read", how="online", code=_read_online(member))
        journal.note("read", how="offline", code=_read_offline(member))
        family = Family(member, guard_kind, found)
        stack.callback(family.close)
        family.grow(name, int(children))
        _attempt(member, journal, sum(map(ord, name)))
        journal.note("done")
        refused = False
        while not _ended():
            if refused or not _goes_on(Path(folder) / "go", name):
                continue
            code = _read_offline(member)
            journal.note("read", how="offline", code=code)
            refused = code is not None
    journal.note("end")


def _guard(stack: ExitStack, guard_kind: str) -> tuple[Any, Callable[..., Any]]:
    """A guard of either kind, and how its methods are called from this thread."""
    where: dict[str, Any] = {
        "control_plane_url": os.environ["NOMOS_CONTROL_URL"],
        "timeout": PATIENCE,
    }
    where["pdp_url"] = os.environ["NOMOS_PDP_URL"]
    if guard_kind == "sync":
        return stack.enter_context(AuthGuard(**where)), _directly
    portal = stack.enter_context(start_blocking_portal(guard_kind))
    guard = AsyncAuthGuard(**where)
    stack.callback(lambda: portal.call(guard.close))

    def call(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async def run() -> Any:
            return await method(*args, **kwargs)

        return portal.call(run)

    return guard, call


def _directly(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return method(*args, **kwargs)


class Family:
    """The children of this process; they end when their input does."""

    def __init__(self, member: Member, guard_kind: str, found: tuple[str, ...]) -> None:
        self._member = member
        self._guard_kind = guard_kind
        self._rest = found
        self._open: list[tuple[Child, Any]] = []

    def grow(self, name: str, count: int) -> None:
        """Fork so many children at once, and start a process for each."""
        if not count:
            return
        member = self._member
        wanted = [
            {"capabilities": [{"with": f"filesystem:///{member.path}/{n}", "can": "file:read"}]}
            for n in range(count)
        ]
        for number, child in enumerate(member.call(member.guard.fork_children, wanted)):
            guard_kind = ("sync", "asyncio", "trio")[number % 3]
            args = [sys.executable, __file__, f"{name}.{number}", guard_kind, "0", *self._rest]
            self._open.append((child, self._start(child, args)))

    def _start(self, child: Child, args: list[str]) -> Any:
        if self._guard_kind == "sync":
            return child.popen(args, stdin=subprocess.PIPE)
        return self._member.call(child.open, args, stdin=subprocess.PIPE, stdout=None, stderr=None)

    def close(self) -> None:
        for child, process in self._open:
            if self._guard_kind == "sync":
                process.stdin.close()
                process.wait(60)
            else:
                self._member.call(process.stdin.aclose)
                self._member.call(process.wait)
            child.close()


def _read_online(member: Member) -> str | None:
    resource = {"provider": "filesystem", "path": f"{member.path}/own"}
    grant = member.call(member.guard.authorize, command=READ, resource=resource)
    if not grant:
        return str(grant.reason)
    return _get(member, {"authorization": f"Bearer {grant.ucan}"})


def _read_offline(member: Member) -> str | None:
    resource = {"provider": "filesystem", "path": f"{member.path}/own"}
    return _get(member, member.call(member.guard.headers, command=READ, resource=resource))


def _get(member: Member, headers: dict[str, str]) -> str | None:
    with httpx.Client(base_url=member.pdp_url, trust_env=False, timeout=PATIENCE) as http:
        reply = http.get(READ, params={"path": f"{member.path}/own"}, headers=headers)
    return None if reply.status_code == 200 else str(reply.json()["error_code"])


def _attempt(member: Member, journal: Journal, start: int) -> None:
    for number in range(EACH):
        attempt, expected = ATTEMPTS[(start + number) % len(ATTEMPTS)]
        code = attempt(member)
        journal.note("attempt", kind=attempt.__name__, expected=expected, code=code)


def _goes_on(file: Path, name: str) -> bool:
    """Whether this process's branch is to go on reading."""
    return file.exists() and name.partition(".")[0] in file.read_text().split()


def _ended() -> bool:
    """Whether the parent has closed our input, or is no more."""
    ready, _, _ = select.select([sys.stdin], [], [], LOOKS_EVERY)
    return bool(ready)


if __name__ == "__main__":
    main(*sys.argv[1:])
