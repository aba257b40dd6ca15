"""Times and durations as text of a page. Times are the server's, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def at(moment: str | float) -> Markup:
    """Return `18:12:00 UTC on 23 May 2026`, in a `time` element with the exact time."""
    when = _read(moment)
    shown = f"{when:%H:%M:%S} UTC on {when.day} {when:%B %Y}"
    return Markup('<time datetime="{}">{}</time>').format(when.isoformat(), shown)


def day(moment: str | float) -> Markup:
    """Return `18:12 UTC, 23 May`, in a `time` element with the exact time."""
    when = _read(moment)
    shown = f"{when:%H:%M} UTC, {when.day} {when:%b}"
    return Markup('<time datetime="{}">{}</time>').format(when.isoformat(), shown)


def left(moment: str | float, now: str | float) -> str:
    """Return the time from `now` to `moment`: `12 minutes`, or `no time` if it has passed."""
    return span((_read(moment) - _read(now)).total_seconds()) or "no time"


def ago(moment: str | float, now: str | float) -> str:
    """Return the time from `moment` to `now`: `3 minutes ago`, or `just now`."""
    passed = span((_read(now) - _read(moment)).total_seconds())
    return f"{passed} ago" if passed else "just now"


def span(seconds: float) -> str:
    """Return a duration in its largest unit, rounded down, for long units with the next one."""
    whole = max(0, int(seconds))
    for number, (size, name) in enumerate(_UNITS):
        count, rest = divmod(whole, size)
        if count:
            shown = _counted(count, name)
            if name in ("day", "hour") or (name == "minute" and count < 3):
                next_size, next_name = _UNITS[number + 1]
                further = rest // next_size
                return f"{shown} {_counted(further, next_name)}" if further else shown
            return shown
    return ""


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" + ("" if count == 1 else "s")


def _read(moment: str | float) -> datetime:
    if isinstance(moment, str):
        return datetime.fromisoformat(moment)
    return datetime.fromtimestamp(moment, UTC)
