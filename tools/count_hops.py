"""Count what one `authorize` and one call at the PDP pass through, and print it.

    uv run python tools/count_hops.py

Everything runs in this process: an agent with an API key and an embedded system, both warm. Counted
are calls of functions of `nomos`, the distinct functions and files, the lines that were executed,
and the distinct types of `nomos` among the arguments of those calls. Requests to the signing binary
are counted by `tools/count_round_trips.py`.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import httpx

import nomos
from nomos import AuthGuard

PACKAGE: Final = str(Path(nomos.__file__).parent)
POLICY: Final = '@id("files") permit (principal, action in Action::"/filesystem", resource);'
READ: Final = "/filesystem/file/read"
FILE: Final = {"provider": "filesystem", "path": "a.txt"}


@dataclass
class Hops:
    """What was passed through; counted only while `on`."""

    on: bool = False
    calls: int = 0
    lines: int = 0
    functions: set[tuple[str, str]] = field(default_factory=set)
    types: set[str] = field(default_factory=set)

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """Count a call; this is a trace function of `sys.settrace`."""
        path = frame.f_code.co_filename
        if not path.startswith(PACKAGE):
            return None
        if self.on and event == "call":
            self.calls += 1
            self.functions.add((path, frame.f_code.co_qualname))
            given = (type(value) for value in frame.f_locals.values())
            self.types |= {each.__qualname__ for each in given if _is_ours(each)}
        return self._line

    def _line(self, _: FrameType, event: str, __: Any) -> Any:
        self.lines += self.on and event == "line"
        return self._line

    def row(self, name: str) -> str:
        """Return the line that is printed for these hops."""
        files = len({path for path, _ in self.functions})
        counts = (self.calls, len(self.functions), files, self.lines, len(self.types))
        return f"{name:12}" + "".join(f"{count:>12,}" for count in counts)


def main() -> None:
    """Print one line for each operation."""
    print(f"{'':12}" + "".join(f"{each:>12}" for each in HEADINGS))
    for name, hops in count().items():
        print(hops.row(name))


HEADINGS: Final = ("calls", "functions", "files", "lines", "types")


def count() -> dict[str, Hops]:
    """Return the hops of each operation. Threads that are running already are not counted."""
    hops: dict[str, Hops] = {}
    current = Hops()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        return current.trace(frame, event, argument)

    with ExitStack() as stack:
        threading.settrace(trace)
        stack.callback(threading.settrace, None)
        sys.settrace(trace)
        stack.callback(sys.settrace, None)
        for name, operation in operations(stack).items():
            operation()  # loads keys, starts processes, fills caches
            current = hops[name] = Hops(on=True)
            operation()
            current.on = False
    return hops


def operations(stack: ExitStack) -> dict[str, Callable[[], object]]:
    """Start a system, and return the operations that are counted."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / "a.txt").write_text("hello")
    guard = stack.enter_context(AuthGuard.embedded(policies=POLICY, workspace=folder))
    client = stack.enter_context(httpx.Client(trust_env=False))
    headers = guard.authorize(command=READ, resource=FILE).headers()

    def read() -> None:
        sent = client.get(f"{guard.pdp_url}{READ}", params={"path": "a.txt"}, headers=headers)
        sent.raise_for_status()

    return {
        "authorize": lambda: guard.authorize(command=READ, resource=FILE),
        "PDP GET": read,
    }


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "nomos" and not kind.__qualname__.startswith("_")


if __name__ == "__main__":
    main()
