"""Times as text, all in UTC: two forms of ISO 8601 for programs, two forms for people.

A time is a `datetime` with a time zone, or Unix seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime


def iso(at: datetime | float) -> str:
    """Return a time as `2026-05-23T18:12:00.000Z`, the form of the API."""
    return _utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_seconds(at: datetime | float) -> str:
    """Return a time as `2026-05-23T18:12:00Z`."""
    return f"{_utc(at):%Y-%m-%dT%H:%M:%SZ}"


def in_words(at: datetime | float) -> str:
    """Return a time as `2026-05-23 18:12:00 UTC`, for a sentence."""
    return f"{_utc(at):%Y-%m-%d %H:%M:%S} UTC"


def in_table(at: datetime | float) -> str:
    """Return a time as `2026-05-23 18:12:00Z`, for a table or a list."""
    return f"{_utc(at):%Y-%m-%d %H:%M:%S}Z"


def _utc(at: datetime | float) -> datetime:
    return at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
