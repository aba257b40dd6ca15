"""`nomos approvals watch`: the queue of requests, on a screen or line by line.

The server is polled every two seconds; the times on the screen are updated in between. If the
server does not answer, the screen says so and polling continues.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from nomos.cli.approvals.view import columns, folded, queue, time_left
from nomos.cli.client import Operator
from nomos.cli.listing import print_list
from nomos.errors import RateLimited, ServerError, Unreachable

POLL_SECONDS: Final = 2.0
REDRAW_SECONDS: Final = 0.5
TIMEOUT: Final = 5.0  # seconds for one poll; the screen is not redrawn meanwhile
MAX_LISTED: Final = 200
MAX_NAMED: Final = 6  # requests that do not fit on the screen and are listed by id
View = dict[str, Any]


@dataclass(frozen=True)
class QueueSnapshot:
    """The queue as last received, when that was, and the error of the last poll."""

    views: Sequence[View] = ()
    server_time: str | None = None
    at: float = 0.0
    problem: str | None = None


def on_screen(operator: Operator, console: Console) -> None:
    """Show the queue on a screen until interrupted."""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for snapshot in _snapshots(operator, "pending"):
            live.update(_frame(snapshot, operator.url, console), refresh=True)
            time.sleep(REDRAW_SECONDS)


def as_lines(operator: Operator, *, as_json: bool) -> None:
    """Print a line for each pending request, and one for each change of state."""
    states: dict[str, str] = {}
    for snapshot in _snapshots(operator, "all"):
        for view in reversed(snapshot.views):
            before, now = states.get(view["id"]), view["state"]
            states[view["id"]] = now
            # Requests decided before the watch began are not printed.
            if before != now and (before is not None or now == "pending"):
                print_list([view], columns, as_json=as_json)
        time.sleep(REDRAW_SECONDS)


def _snapshots(operator: Operator, state: str) -> Iterator[QueueSnapshot]:
    """Yield the last snapshot, and poll again when it is two seconds old."""
    snapshot, polled_at = QueueSnapshot(), -POLL_SECONDS
    while True:
        if time.monotonic() - polled_at >= POLL_SECONDS:
            polled_at = time.monotonic()
            try:
                reply = operator.get("/v1/approvals", state=state, limit=MAX_LISTED)
                snapshot = QueueSnapshot(reply["approvals"], reply["serverTime"], polled_at)
            except (Unreachable, ServerError, RateLimited) as error:
                snapshot = QueueSnapshot(
                    snapshot.views, snapshot.server_time, snapshot.at, str(error)
                )
        yield snapshot


def _frame(snapshot: QueueSnapshot, url: str, console: Console) -> RenderableType:
    waiting = len(snapshot.views)
    title = Text.assemble(
        (f" {waiting} pending ", "bold black on yellow" if waiting else "bold black on green"),
        (f"  {url}   press Ctrl-C to stop", "dim"),
    )
    parts: list[RenderableType] = [title]
    if snapshot.problem is not None:
        lines = folded(Text(f"not up to date: {snapshot.problem}", "bold red"), console.width)
        parts += lines
    parts.append(Text(""))
    if snapshot.server_time is None:
        return Group(*parts)
    now = datetime.fromisoformat(snapshot.server_time) + timedelta(
        seconds=time.monotonic() - snapshot.at
    )
    if not snapshot.views:
        return Group(*parts, Text("no pending requests", style="dim"))
    return Group(*parts, *_fitting(snapshot.views, now, console, console.height - len(parts) - 2))


def _fitting(
    views: Sequence[View], now: datetime, console: Console, room: int
) -> Iterator[RenderableType]:
    """Yield the requests that fit, earliest expiry first, and then the ids of the others.

    A request is shown in full or not at all: part of its args could look like all of them.
    """
    urgent = sorted(views, key=lambda view: str(view["expiresAt"]))
    shown = len(urgent)
    while shown and _height(urgent[:shown], now, console) + _rest(len(urgent) - shown) > room:
        shown -= 1
    if shown:
        yield queue(urgent[:shown], now, console.width)
    if shown < len(urgent):
        yield Text("these do not fit on the screen: nomos approvals show ID", style="bold")
    for view in urgent[shown : shown + MAX_NAMED]:
        yield Text.assemble((view["id"], "bold"), "  ", time_left(view, now))
    if len(urgent) - shown > MAX_NAMED:
        yield Text(f"and {len(urgent) - shown - MAX_NAMED} more: nomos approvals list")


def _rest(count: int) -> int:
    """Return the number of lines that listing `count` requests by id takes."""
    return 0 if count == 0 else 2 + min(count, MAX_NAMED)


def _height(views: Sequence[View], now: datetime, console: Console) -> int:
    return len(console.render_lines(queue(views, now, console.width)))
