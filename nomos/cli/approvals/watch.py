"""`nomos approvals watch`: the queue as it is now, on a screen or line by line.

The server is asked every two seconds; what is on the screen moves on by itself in between. A
server that does not answer is told of and asked again: who watches wants to go on watching.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from nomos.cli.approvals.view import folded, line, queue, time_left
from nomos.cli.client import Operator
from nomos.errors import RateLimited, ServerError, Unreachable

LOOKS_EVERY: Final = 2.0
DRAWS_EVERY: Final = 0.5
TIMEOUT: Final = 5.0
"""Seconds that a look may take: nothing is drawn meanwhile."""

MAX_LISTED: Final = 200
MOST_NAMED: Final = 6
"""Questions without room that are named by their ids."""

View = dict[str, Any]


@dataclass(frozen=True)
class QueueSnapshot:
    """The queue as it last came, when that was, and what has gone wrong since."""

    views: Sequence[View] = ()
    server_time: str | None = None
    at: float = 0.0
    trouble: str | None = None


def on_screen(operator: Operator, console: Console) -> None:
    """Draw the queue until interrupted."""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for seen in _looks(operator, "pending"):
            live.update(_frame(seen, operator.url, console), refresh=True)
            time.sleep(DRAWS_EVERY)


def as_lines(operator: Operator, *, as_json: bool) -> None:
    """Print a line for each question that waits, and one whenever a state changes."""
    states: dict[str, str] = {}
    for seen in _looks(operator, "all"):
        for view in reversed(seen.views):
            before, now = states.get(view["id"]), view["state"]
            states[view["id"]] = now
            # What was settled before the watch began is history.
            if before != now and (before is not None or now == "pending"):
                print(json.dumps(view) if as_json else line(view), flush=True)
        time.sleep(DRAWS_EVERY)


def _looks(operator: Operator, state: str) -> Iterator[QueueSnapshot]:
    """What was seen last, asked anew when it is two seconds old."""
    seen, asked = QueueSnapshot(), -LOOKS_EVERY
    while True:
        if time.monotonic() - asked >= LOOKS_EVERY:
            asked = time.monotonic()
            try:
                reply = operator.get("/v1/approvals", state=state, limit=MAX_LISTED)
                seen = QueueSnapshot(reply["approvals"], reply["serverTime"], asked)
            except (Unreachable, ServerError, RateLimited) as error:
                seen = QueueSnapshot(seen.views, seen.server_time, seen.at, str(error))
        yield seen


def _frame(seen: QueueSnapshot, url: str, console: Console) -> RenderableType:
    waiting = len(seen.views)
    title = Text.assemble(
        (f" {waiting} waiting ", "bold black on yellow" if waiting else "bold black on green"),
        (f"  {url}   Ctrl-C ends", "dim"),
    )
    parts: list[RenderableType] = [title]
    if seen.trouble is not None:
        told = folded(Text(f"not up to date: {seen.trouble}", "bold red"), console.width)
        parts += told
    parts.append(Text(""))
    if seen.server_time is None:
        return Group(*parts)
    now = datetime.fromisoformat(seen.server_time) + timedelta(seconds=time.monotonic() - seen.at)
    if not seen.views:
        return Group(*parts, Text("nobody asks for anything", style="dim"))
    return Group(*parts, *_fitting(seen.views, now, console, console.height - len(parts) - 2))


def _fitting(
    views: Sequence[View], now: datetime, console: Console, room: int
) -> Iterator[RenderableType]:
    """As many whole questions as there is room for, the most urgent first; then who else waits.

    A question is shown in full or not at all: half of its args could look like all of them.
    """
    urgent = sorted(views, key=lambda view: str(view["expiresAt"]))
    shown = len(urgent)
    while shown and _height(urgent[:shown], now, console) + _rest(len(urgent) - shown) > room:
        shown -= 1
    if shown:
        yield queue(urgent[:shown], now, console.width)
    if shown < len(urgent):
        yield Text("no room here for these: nomos approvals show ID", style="bold")
    for view in urgent[shown : shown + MOST_NAMED]:
        yield Text.assemble((view["id"], "bold"), "  ", time_left(view, now))
    if len(urgent) - shown > MOST_NAMED:
        yield Text(f"and {len(urgent) - shown - MOST_NAMED} more: nomos approvals list")


def _rest(count: int) -> int:
    """The lines that it takes to name so many questions."""
    return 0 if count == 0 else 2 + min(count, MOST_NAMED)


def _height(views: Sequence[View], now: datetime, console: Console) -> int:
    return len(console.render_lines(queue(views, now, console.width)))
