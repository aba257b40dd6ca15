"""The forms in which times are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nomos._times import in_table, in_words, iso, iso_seconds

AT = 1_800_000_000
ELSEWHERE = timezone(timedelta(hours=-3))


@pytest.mark.parametrize(
    "at", [AT, AT + 0.1239, datetime.fromtimestamp(AT, UTC), datetime.fromtimestamp(AT, ELSEWHERE)]
)
def test_a_time_is_written_in_utc_for_any_time_zone(at: float | datetime) -> None:
    assert iso(at)[:-5] == "2027-01-15T08:00:00"
    assert iso_seconds(at) == "2027-01-15T08:00:00Z"
    assert in_words(at) == "2027-01-15 08:00:00 UTC"
    assert in_table(at) == "2027-01-15 08:00:00Z"


def test_milliseconds_are_truncated_and_not_rounded() -> None:
    assert iso(AT) == "2027-01-15T08:00:00.000Z"
    assert iso(AT + 0.1239) == "2027-01-15T08:00:00.123Z"


@given(some.integers(0, 253_402_300_799))
def test_a_whole_second_is_read_as_it_was_written(at: int) -> None:
    assert datetime.fromisoformat(iso(at)).timestamp() == at
    assert datetime.fromisoformat(iso_seconds(at)).timestamp() == at
